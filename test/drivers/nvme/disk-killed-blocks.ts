/** What is written by a program that is killed: blocks that say which they are, and when they were written. */

export const BLOCK = 4096
export const BLOCKS = 64

export function blockContents(block: number, version: number): Buffer {
  const bytes = Buffer.alloc(BLOCK)
  for (let at = 0; at < BLOCK; at += 8) {
    bytes.writeUInt32LE(block * 1000 + at, at)
    bytes.writeUInt32LE(version, at + 4)
  }
  return bytes
}
