/** Views of client memory that drivers hold: what may be written through them counts as written until they are released. */
import { ErrnoError } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import type { DirtyLog } from './dirty-log.ts'
import type { MapEntry } from './map-entry.ts'

interface Held {
  readonly entry: MapEntry
  readonly iova: number
  readonly dirtyLog: DirtyLog
}

/** What views are of, of all containers: a driver may release one late, when its client has gone. */
const held = new WeakMap<Uint8Array, Held>()

/** @throws EFAULT it goes beyond its map · EOPNOTSUPP the memory is not mapped here, or not in one piece */
export function takeView(
  entry: MapEntry,
  iova: number,
  length: number,
  dirtyLog: DirtyLog,
): Uint8Array {
  if (!(length >= 0 && length <= entry.end - iova))
    throw new ErrnoError('EFAULT', `dma view ${hex(iova)}+${hex(length)}: crosses its map`)
  const { memory } = entry
  if (!memory.mapped) throw new ErrnoError('EOPNOTSUPP', `dma view: ${memory.noView}`)
  const view = memory.view(iova - entry.iova, length)
  if (entry.writable) dirtyLog.hold(iova, length)
  held.set(view, { entry, iova, dirtyLog })
  return view
}

/** @throws EINVAL it is no view, or was released already */
export function releaseView(view: Uint8Array): void {
  const { entry, iova, dirtyLog } = held.get(view) ?? {}
  if (entry === undefined || iova === undefined)
    throw new ErrnoError('EINVAL', `dma view of ${bytes(view.length)}: none that is held`)
  held.delete(view)
  if (entry.writable && !entry.closed) dirtyLog?.release(iova, view.length)
}
