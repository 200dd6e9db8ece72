/**
 * `struct()` declares a binary layout once, in the order and with the names of its specification, and makes views of it:
 * cursors aimed at bytes and then read and written like objects.
 *
 * Layouts are packed and little-endian; padding is a field named `_pad0`. Nothing else is supported, on purpose.
 */
import { ErrnoError } from './errno.ts'

/**
 * Kinds of field. `size` is a u64 on the wire that is a `number` here, checked against 2^53 both ways; `u64` is opaque
 * and a `bigint`.
 */
export type FieldKind = 'u8' | 'u16' | 'u32' | 's32' | 'u64' | 'size'

export type Fields = Readonly<Record<string, FieldKind>>

type ValueOf<K extends FieldKind> = K extends 'u64' ? bigint : number

/** A cursor: `aim` it, then use the fields. Neither aiming nor access allocates. */
export type View<F extends Fields> = { -readonly [K in keyof F]: ValueOf<F[K]> } & {
  /**
   * Points this view at `data`, from byte `offset` on, and returns it.
   *
   * @throws EINVAL when the layout does not fit there
   */
  aim(data: DataView, offset?: number): View<F>
}

/** A declared layout: its name, its size in bytes, where each field lies, and a maker of views. */
export interface Struct<F extends Fields> {
  readonly name: string
  readonly size: number
  readonly offsets: { readonly [K in keyof F]: number }
  /** A new cursor over zeroed bytes of its own. */
  view(): View<F>
  /** The bytes of one such struct; fields left out are 0. */
  encode(values: Partial<{ [K in keyof F]: ValueOf<F[K]> }>): Uint8Array<ArrayBuffer>
}

const KIND_SIZE = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8, size: 8 } as const satisfies Record<
  FieldKind,
  number
>

const TWO_32 = 2 ** 32

/**
 * Declares a layout.
 *
 * @param name   as the specification names it, for messages
 * @param size   bytes the fields must add up to, without a variable tail (a tail starts at `size`)
 * @param fields name and kind of each, in order
 * @throws EINVAL at declaration, when the fields do not add up to `size`
 */
export function struct<const F extends Fields>(name: string, size: number, fields: F): Struct<F> {
  class Cursor {
    // `$`: no specification has a field of such a name
    $data: DataView = new DataView(new ArrayBuffer(size))
    $base = 0

    aim(data: DataView, offset = 0): this {
      if (!(offset >= 0 && offset + size <= data.byteLength)) {
        throw new ErrnoError(
          'EINVAL',
          `${name}: ${size} bytes at ${offset} do not fit in ${data.byteLength}`,
        )
      }
      this.$data = data
      this.$base = offset
      return this
    }
  }

  const offsets: Record<string, number> = {}
  let end = 0
  for (const [field, kind] of Object.entries(fields)) {
    offsets[field] = end
    Object.defineProperty(Cursor.prototype, field, accessors(kind, end, `${name}.${field}`))
    end += KIND_SIZE[kind]
  }
  if (end !== size)
    throw new ErrnoError('EINVAL', `struct ${name}: fields add up to ${end} bytes, not ${size}`)

  const view = () => new Cursor() as unknown as View<F>
  return {
    name,
    size,
    offsets: offsets as { readonly [K in keyof F]: number },
    view,
    encode(values) {
      const bytes = new Uint8Array(size)
      Object.assign(view().aim(dataViewOf(bytes)), values)
      return bytes
    },
  }
}

/** A DataView over exactly the bytes of `bytes`. */
export function dataViewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Reads a little-endian u64 as a number, checked. @throws EOVERFLOW beyond 2^53 - 1 */
export function getSize(data: DataView, offset: number, what: string): number {
  const value = data.getUint32(offset + 4, true) * TWO_32 + data.getUint32(offset, true)
  if (value > Number.MAX_SAFE_INTEGER) throw new ErrnoError('EOVERFLOW', `${what}: u64 beyond 2^53`)
  return value
}

/** Writes a number as a little-endian u64, checked. @throws EOVERFLOW when it is no integer from 0 to 2^53 - 1 */
export function setSize(data: DataView, offset: number, value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new ErrnoError('EOVERFLOW', `${what}: ${value} is no u64 below 2^53`)
  }
  data.setUint32(offset, value % TWO_32, true)
  data.setUint32(offset + 4, Math.floor(value / TWO_32), true)
}

interface CursorState {
  $data: DataView
  $base: number
}

/** One pair of closures per field keeps the offset a constant that the compiler can inline. */
function accessors(
  kind: FieldKind,
  at: number,
  what: string,
): PropertyDescriptor & ThisType<CursorState> {
  switch (kind) {
    case 'u8':
      return {
        get() {
          return this.$data.getUint8(this.$base + at)
        },
        set(value: number) {
          this.$data.setUint8(this.$base + at, value)
        },
      }
    case 'u16':
      return {
        get() {
          return this.$data.getUint16(this.$base + at, true)
        },
        set(value: number) {
          this.$data.setUint16(this.$base + at, value, true)
        },
      }
    case 'u32':
      return {
        get() {
          return this.$data.getUint32(this.$base + at, true)
        },
        set(value: number) {
          this.$data.setUint32(this.$base + at, value, true)
        },
      }
    case 's32':
      return {
        get() {
          return this.$data.getInt32(this.$base + at, true)
        },
        set(value: number) {
          this.$data.setInt32(this.$base + at, value, true)
        },
      }
    case 'u64':
      return {
        get() {
          return this.$data.getBigUint64(this.$base + at, true)
        },
        set(value: bigint) {
          this.$data.setBigUint64(this.$base + at, value, true)
        },
      }
    case 'size':
      return {
        get() {
          return getSize(this.$data, this.$base + at, what)
        },
        set(value: number) {
          setSize(this.$data, this.$base + at, value, what)
        },
      }
  }
}
