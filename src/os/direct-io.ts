/** What a file wants of those who read and write it past the page cache. */
import * as abi from '../abi/file.ts'
import { addressOf, cFunction } from './ffi.ts'

/** What offsets, lengths and addresses must be multiples of. */
export interface DirectAlignment {
  readonly memory: number
  readonly offset: number
}

/** What nearly all disks and file systems are content with. */
const USUAL: DirectAlignment = { memory: 4096, offset: 4096 }

const EMPTY_PATH = Buffer.from('\0')
/** Bytes of all of struct statx. */
const STATX_SIZE = 256

/** What the kernel says of an fd opened with O_DIRECT; before Linux 6.1 what is usual. */
export function directAlignment(fd: number): DirectAlignment {
  const bytes = new Uint8Array(STATX_SIZE)
  const result = statx(fd, addressOf(EMPTY_PATH), abi.AT_EMPTY_PATH, abi.STATX_DIOALIGN, bytes)
  const answer = abi.Statx.view().aim(new DataView(bytes.buffer))
  const memory = answer.stx_dio_mem_align
  const offset = answer.stx_dio_offset_align
  const isKnown = result === 0 && (answer.stx_mask & abi.STATX_DIOALIGN) !== 0
  return isKnown && memory > 0 && offset > 0 ? { memory, offset } : USUAL
}

function statx(fd: number, path: number, flags: number, mask: number, answer: Uint8Array): number {
  return call(fd, path, flags, mask, addressOf(answer))
}

const call = cFunction('statx', 'int', ['int', 'ptr', 'int', 'u32', 'ptr'])
