/**
 * Transfers between a file and client memory, many at a time: with no copy where the memory is mapped here, else through
 * buffers of ours. What a transfer uses stays until it has ended, also when the client unmaps it meanwhile.
 *
 * For a device that is a disk: all is moved, or it has failed; and nothing is made for each transfer that could be kept. Moving as
 * much as any fd has, and at once, is `file-transfer.ts`.
 */
import { ErrnoError, errnoCode, errnoOf } from '../lib/errno.ts'
import { type AsyncFile, type FileDone } from '../os/async-file.ts'
import type { FileRequest } from '../os/file-request.ts'
import { accessible } from './access.ts'
import { type CopyClient, copyIo } from './copy-io.ts'
import type { DirtyLog } from './dirty-log.ts'
import type { Direction } from './file-transfer.ts'
import type { MapEntry } from './map-entry.ts'
import type { MapTable } from './map-table.ts'
import { listLength, type Segment } from './segments.ts'

export interface FileIo {
  readonly direction: Direction
  readonly file: AsyncFile
  /** Stays as it is until `done`. */
  readonly list: readonly Segment[]
  /** In the file, bytes. */
  readonly position: number
  readonly done: FileDone
}

/** Whose memory it is. */
export interface FileIoClient extends CopyClient {
  readonly table: MapTable
  readonly dirtyLog: DirtyLog
}

/**
 * Queues a transfer, which `file.submit()` begins.
 *
 * @throws EINVAL bad length or position · EFAULT, EACCES of the list · EBADF the file is closed; nothing is queued then
 */
export function queueFileIo(io: FileIo, client: FileIoClient): void {
  const { table, dirtyLog, user } = client
  const { direction, file, list, position, done } = io
  const total = listLength(list)
  const request = file.request(direction === 'from-file' ? 'read' : 'write', position, user)
  const entries: MapEntry[] = []
  let queued = false
  try {
    const isMapped = collect(io, table, request, entries)
    if (isMapped && request.isAligned(file.alignment.memory)) {
      file.queue(request, (error) => {
        // before the maps may go, which takes what was written of them out of the log
        if (direction === 'from-file') logWrites(list, entries, dirtyLog)
        for (const entry of entries) entry.endUse()
        done(error)
      })
      queued = true
      return
    }
  } finally {
    if (!queued) {
      for (const entry of entries) entry.endUse()
      file.drop(request)
    }
  }
  void copyIo(io, total, client).then(
    () => done(),
    (error: unknown) => done(asErrno(error)),
  )
}

/**
 * Adds the memory of a list to a request, and holds its maps.
 *
 * @returns false where some of it is not mapped here; all of it has been checked nevertheless
 * @throws EFAULT, EACCES
 */
function collect(
  { direction, list }: FileIo,
  table: MapTable,
  request: FileRequest,
  entries: MapEntry[],
): boolean {
  const right = direction === 'from-file' ? 'writable' : 'readable'
  let isMapped = true
  for (const { iova, length } of list) {
    const end = iova + length
    for (let at = iova; at < end;) {
      const entry = accessible(table, at, right)
      const { memory } = entry
      const stop = Math.min(end, entry.end)
      if (!memory.mapped) isMapped = false
      else {
        if (entries.at(-1) !== entry) {
          entry.beginUse()
          entries.push(entry)
        }
        memory.addTo(request, at, stop)
      }
      at = stop
    }
  }
  return isMapped
}

function logWrites(
  list: readonly Segment[],
  entries: readonly MapEntry[],
  dirtyLog: DirtyLog,
): void {
  if (!dirtyLog.isOn || entries.some(({ closed }) => closed)) return
  for (const { iova, length } of list) dirtyLog.wrote(iova, length)
}

function asErrno(error: unknown): ErrnoError {
  if (error instanceof ErrnoError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new ErrnoError(errnoCode(errnoOf(error)), message, { cause: error })
}
