/** Where an access goes: the maps that it touches, and whether they grant it. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { MapEntry } from './map-entry.ts'
import type { MapTable } from './map-table.ts'

export type Right = 'readable' | 'writable'

/** What of an access lies in one map. */
export interface Part {
  readonly entry: MapEntry
  readonly iova: number
  readonly length: number
}

/** The map that an address lies in. @throws EFAULT there is none · EACCES it does not grant that */
export function accessible(table: MapTable, iova: number, right: Right): MapEntry {
  const entry = table.at(iova)
  if (entry === undefined || entry.stopped)
    throw new ErrnoError('EFAULT', `dma at ${hex(iova)}: not mapped`)
  if (!entry[right]) throw new ErrnoError('EACCES', `dma at ${hex(iova)}: mapped, but not ${right}`)
  return entry
}

/** All maps that an access touches, in order. @throws as {@link accessible} */
export function partsOf(table: MapTable, iova: number, length: number, right: Right): Part[] {
  const parts: Part[] = []
  for (let done = 0; done < length;) {
    const at = iova + done
    const entry = accessible(table, at, right)
    const part = { entry, iova: at, length: Math.min(entry.end - at, length - done) }
    parts.push(part)
    done += part.length
  }
  return parts
}
