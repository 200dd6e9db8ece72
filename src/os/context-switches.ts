/** How often this thread had to give up its processor to another one, and how often it did so by itself. */
import { dataViewOf } from '../lib/struct.ts'
import { RUSAGE_THREAD, Rusage } from '../abi/resource.ts'
import { addressOf, cFunction } from './ffi.ts'

const getrusage = cFunction('getrusage', 'int', ['int', 'ptr'])

const bytes = Rusage.encode({})
const usage = Rusage.view().aim(dataViewOf(bytes))
const address = addressOf(bytes)

/** Involuntary context switches of this thread so far. */
export function preemptions(): number {
  getrusage(RUSAGE_THREAD, address)
  return usage.ru_nivcsw
}

/** Voluntary context switches of this thread so far: it waited for something. */
export function waits(): number {
  getrusage(RUSAGE_THREAD, address)
  return usage.ru_nvcsw
}
