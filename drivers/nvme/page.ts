/** Data structures that guests read, written as their figures in the specification: rows of offset, kind and value. */

/** A number of so many bytes, little-endian; characters, padded with spaces; or bytes. */
export type Row =
  | readonly [offset: number, kind: 'u8' | 'u16' | 'u32', value: number]
  | readonly [offset: number, kind: 'u64' | 'u128', value: number]
  | readonly [offset: number, kind: 'text', value: string, size: number]
  | readonly [offset: number, kind: 'bytes', value: Uint8Array]

/** @param size bytes; all that no row says is 0 */
export function page(size: number, rows: readonly Row[]): Uint8Array {
  const bytes = Buffer.alloc(size)
  for (const row of rows) write(bytes, row)
  return bytes
}

function write(bytes: Buffer, row: Row): void {
  const [offset, kind, value] = row
  switch (kind) {
    case 'u8':
      bytes.writeUInt8(value, offset)
      break
    case 'u16':
      bytes.writeUInt16LE(value, offset)
      break
    case 'u32':
      bytes.writeUInt32LE(value, offset)
      break
    case 'u64':
    case 'u128': // no count of ours needs more
      bytes.writeBigUInt64LE(BigInt(value), offset)
      break
    case 'text': {
      const size = row[3]
      bytes.fill(' ', offset, offset + size)
      bytes.write(value, offset, size, 'latin1')
      break
    }
    case 'bytes':
      bytes.set(value, offset)
  }
}
