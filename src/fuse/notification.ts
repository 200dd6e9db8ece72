/** A message to the kernel that answers nothing. */
import * as fuse from '../abi/fuse.ts'

/** @param length of all of it; what follows the header is zeros, for fields to be set in */
export function notification(code: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  bytes.set(fuse.FuseOutHeader.encode({ len: length, error: code, unique: 0 }))
  return bytes
}
