/** Spans: IOVA behind which this process has memory in one piece, to be read and written with no further look-up. */

export interface Span {
  /** First IOVA, and the first one after it. */
  readonly start: number
  readonly end: number
  readonly readable: boolean
  readonly writable: boolean
  /** Where `bytes` and `data` begin, as an IOVA: far below `start`, as a rule. */
  readonly base: number
  readonly bytes: Uint8Array
  /** The same memory. */
  readonly data: DataView
  /** Of the first of `bytes`, in this process. */
  readonly address: number
}

/** Below this, a loop is faster than a view of the memory and a copy. */
const SMALL = 24

/** Copies out of a span what lies in it from `iova` on. */
export function readSpan(span: Span, iova: number, target: Uint8Array): void {
  const { bytes } = span
  const at = iova - span.base
  const { length } = target
  if (length <= SMALL) for (let i = 0; i < length; i++) target[i] = bytes[at + i]!
  else target.set(bytes.subarray(at, at + length))
}

/** Copies into a span, from `iova` on. */
export function writeSpan(span: Span, iova: number, source: Uint8Array): void {
  const { bytes } = span
  const at = iova - span.base
  const { length } = source
  if (length <= SMALL) for (let i = 0; i < length; i++) bytes[at + i] = source[i]!
  else bytes.set(source, at)
}

/** In which no address lies. */
export const NO_SPAN: Span = {
  start: 1,
  end: 0,
  readable: false,
  writable: false,
  base: 0,
  bytes: new Uint8Array(0),
  data: new DataView(new ArrayBuffer(0)),
  address: 0,
}
