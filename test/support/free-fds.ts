/** A process that has run out of fd numbers. */
import { closeSync, openSync } from 'node:fs'
import { addressOf, cFunction, check } from '../../src/os/ffi.ts'

const getrlimit = cFunction('getrlimit', 'int', ['int', 'ptr'])
const setrlimit = cFunction('setrlimit', 'int', ['int', 'ptr'])
const RLIMIT_NOFILE = 7 // <asm-generic/resource.h>

/** Leaves no fd number but those in use, for the time of `body`. */
export async function withoutFreeFds(body: () => Promise<void>): Promise<void> {
  const limits = new BigUint64Array(2)
  check(getrlimit(RLIMIT_NOFILE, addressOf(limits)), 'getrlimit')
  const lowestFree = openSync('/dev/null', 'r')
  closeSync(lowestFree)
  const none = new BigUint64Array([BigInt(lowestFree), limits[1] ?? 0n])
  check(setrlimit(RLIMIT_NOFILE, addressOf(none)), 'setrlimit')
  try {
    await body()
  } finally {
    check(setrlimit(RLIMIT_NOFILE, addressOf(limits)), 'setrlimit')
  }
}
