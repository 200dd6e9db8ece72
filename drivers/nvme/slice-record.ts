/** The record beside an image of which bytes are whose. It is written whole, synced, before a slice is used or let go of. */
import { readSmallFile, ErrnoError, writeFileAtomic } from 'mdevkit'

/** A run of bytes of the image. */
export interface Extent {
  readonly offset: number
  /** Bytes. */
  readonly size: number
}

export interface SliceEntry extends Extent {
  readonly uuid: string
  /** Of the mdev's type, bytes, where the slice has another size: as one of that type it can come back. */
  readonly typeSize?: number | undefined
  /** What is in it is of no use any more, and goes before the bytes are anyone's again: now, or once its mdev is gone. */
  readonly state: 'kept' | 'scratch' | 'wiping'
}

const FORMAT = 'mdevkit-nvme-slices'
const VERSION = 1
const STATES = new Set<unknown>(['kept', 'scratch', 'wiping'])
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Most bytes of a record, which is some hundred thousand slices. */
const MAX_RECORD = 16 * 2 ** 20

/**
 * The slices that are recorded, by their place.
 *
 * @param imageSize bytes
 * @throws EINVAL no such record, or one that cannot be: it is left as it is · what reading it says
 */
export function readRecord(path: string, imageSize: number): SliceEntry[] {
  let text: string
  try {
    text = readSmallFile(path, MAX_RECORD)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  const slices = parse(path, text)
  slices.sort((a, b) => a.offset - b.offset)
  checkPlaces(path, slices, imageSize)
  return slices
}

/** Replaces the record; after a power cut it is the old one or this. @throws ENOSPC, EROFS…: the old one is there still */
export function writeRecord(path: string, slices: readonly SliceEntry[]): void {
  const text = JSON.stringify({ format: FORMAT, version: VERSION, slices }, undefined, 2)
  writeFileAtomic(path, `${text}\n`, { mode: 0o600 })
}

function parse(path: string, text: string): SliceEntry[] {
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch (error) {
    throw refusal(path, 'is no JSON', error)
  }
  const { format, version, slices } = fieldsOf(record)
  if (format !== FORMAT) throw refusal(path, `is no record of slices (format ${show(format)})`)
  if (version !== VERSION) throw refusal(path, `is of version ${show(version)}, not ${VERSION}`)
  if (!Array.isArray(slices)) throw refusal(path, 'has no list of slices')
  return slices.map((slice, i) => {
    const { uuid, offset, size, state, typeSize } = fieldsOf(slice)
    if (typeof uuid !== 'string' || !UUID.test(uuid))
      throw refusal(path, `slice ${i}: uuid ${show(uuid)}`)
    if (!isPlace(offset)) throw refusal(path, `slice ${uuid}: offset ${show(offset)}`)
    if (!isPlace(size) || size === 0) throw refusal(path, `slice ${uuid}: size ${show(size)}`)
    if (!STATES.has(state)) throw refusal(path, `slice ${uuid}: state ${show(state)}`)
    if (typeSize !== undefined && !isPlace(typeSize))
      throw refusal(path, `slice ${uuid}: typeSize ${show(typeSize)}`)
    return { uuid, offset, size, typeSize, state: state as SliceEntry['state'] }
  })
}

function checkPlaces(path: string, slices: readonly SliceEntry[], imageSize: number): void {
  const seen = new Set<string>()
  let end = 0
  for (const { uuid, offset, size } of slices) {
    if (seen.has(uuid)) throw refusal(path, `slice ${uuid} is there twice`)
    if (offset < end) throw refusal(path, `slice ${uuid} overlaps another`)
    seen.add(uuid)
    end = offset + size
    if (!(end <= imageSize)) {
      throw refusal(
        path,
        `slice ${uuid} ends at ${end}, and the image at ${imageSize}: it is another image, or was cut`,
      )
    }
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function isPlace(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function show(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 80)
}

function refusal(path: string, why: string, cause?: unknown): ErrnoError {
  return new ErrnoError(
    'EINVAL',
    `${path}: ${why}; it says which bytes are whose: mend it, or move it away and lose what is on the slices`,
    cause === undefined ? {} : { cause },
  )
}
