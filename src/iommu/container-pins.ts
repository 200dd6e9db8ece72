/** The pins of a container: its maps as they are pinned, and what becomes of the pins when a map goes. */
import { hex } from '../lib/format.ts'
import type { Logger } from '../lib/log.ts'
import type { DirtyLog } from './dirty-log.ts'
import type { MapEntry } from './map-entry.ts'
import type { MapTable } from './map-table.ts'
import { PageLocks } from './page-locks.ts'
import { type PinAccounts, PinTable } from './pin-table.ts'
import type { PinSpace } from './pinnable.ts'

/** Who pays for what one client's devices pin. */
export interface PinPayers extends PinAccounts {
  /** Whether the client's own limit does not bind it. */
  readonly lockExempt: boolean
}

/** Of this process, in which a file is mapped once for all containers. */
const locks = new PageLocks()

export function createPins(table: MapTable, dirtyLog: DirtyLog, payers: PinAccounts): PinTable {
  const space: PinSpace = {
    find(iova) {
      const entry = table.at(iova)
      return entry?.stopped === false ? entry : undefined
    },
    views(iova, length) {
      const entry = table.at(iova)
      return entry?.memory.mapped === true ? entry.memory.views(iova - entry.iova, length) : []
    },
    wrote: (iova, length) => dirtyLog.wrote(iova, length),
  }
  return new PinTable(space, locks, payers)
}

/** The map goes: what its driver has not let go of is taken from it. */
export function takePinsAway(pins: PinTable, entry: MapEntry, log: Logger): void {
  const count = pins.release(entry.iova)
  if (count === 0) return
  log.warn(
    `dma unmap ${hex(entry.iova)}+${hex(entry.size)}: the driver still held ${count} pins of it, which were taken away`,
  )
}
