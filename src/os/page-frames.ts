/** Which page frames of the host's memory stand behind pages of this process: /proc/self/pagemap. */
import { openSync, readSync } from 'node:fs'
import { PAGE_SIZE } from './arena.ts'
import { closeFd, O_RDONLY } from './fd.ts'

/** Bytes of one page's entry: bits 0 to 54 are the frame number of a page that is present, bit 63. @see proc(5) */
const ENTRY_SIZE = 8
const PRESENT = 0x8000_0000 // of the upper half
const FRAME_HIGH = 0x007f_ffff // of the upper half

/**
 * The frame numbers of `pages` pages from `address` on, as they are now; 0 for a page that is not present. Even locked pages
 * may be moved: the kernel does that to make room for large ones (vm.compact_unevictable_allowed).
 *
 * @param address page aligned
 * @returns undefined where this process may not know them, for want of CAP_SYS_ADMIN: the kernel says 0 for each
 */
export function pageFrames(address: number, pages: number): number[] | undefined {
  const entries = new Uint32Array((pages * ENTRY_SIZE) / 4)
  const fd = openSync('/proc/self/pagemap', O_RDONLY)
  try {
    readSync(fd, entries, 0, entries.byteLength, (address / PAGE_SIZE) * ENTRY_SIZE)
  } finally {
    closeFd(fd)
  }
  const frames: number[] = []
  for (let i = 0; i < entries.length; i += 2) {
    const low = entries[i] ?? 0
    const high = entries[i + 1] ?? 0
    const frame = (high & FRAME_HIGH) * 2 ** 32 + low
    if ((high & PRESENT) === 0) frames.push(0)
    else if (frame === 0) return undefined
    else frames.push(frame)
  }
  return frames
}
