/** The address space of this process: what maps and unmaps, and how much of it the memory of clients may take. */
import { ErrnoError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'
import { cFunction } from './ffi.ts'

/** `mmap` and `munmap` of the C library; a negative result is a failure. */
export const mmap = cFunction('mmap', 'size', ['ptr', 'size', 'int', 'int', 'int', 'size'])
export const munmap = cFunction('munmap', 'int', ['ptr', 'size'])

/**
 * Most mappings of this process: a quarter of what Linux allows (vm.max_map_count, 65530), as each may leave a gap of its
 * own behind it. V8 and malloc need some too, and end the process when they get none.
 */
const MAX_MAPPINGS = 16_384
/** Most bytes of address space: half of what a process can address (2^47). */
const MAX_RESERVED = 2 ** 46

let mappings = 0
let reserved = 0

/** Counts one more mapping, before it is made. @throws ENOSPC there are too many */
export function takeMapping(what: string): void {
  if (mappings >= MAX_MAPPINGS)
    throw new ErrnoError('ENOSPC', `${what}: ${MAX_MAPPINGS} mappings are the most`)
  mappings++
}

/** `count` mappings are no more. */
export function returnMappings(count: number): void {
  mappings -= count
}

/** Counts address space, before it is taken. @throws ENOSPC there is too little left */
export function takeAddressSpace(size: number, what: string): void {
  if (reserved + size > MAX_RESERVED)
    throw new ErrnoError('ENOSPC', `${what}: ${bytes(reserved)} are in use`)
  reserved += size
}

/** `size` bytes of address space are free again. */
export function returnAddressSpace(size: number): void {
  reserved -= size
}
