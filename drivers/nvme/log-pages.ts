/** Log pages (5.14.1). */
import type { Clock } from 'mdevkit'
import type { ErrorLog } from './error-log.ts'
import { page, type Row } from './page.ts'
import { ADMIN, LOG, NVM } from './spec.ts'
import { Statistics } from './statistics.ts'

export interface LogContext {
  readonly errors: ErrorLog
  readonly statistics: Statistics
  readonly clock: Clock
  readonly firmware: string
  /** When the controller was made, of the clock. */
  readonly madeAt: number
  /** Whether SMART is to warn of a temperature, in kelvin. */
  readonly isAlarming: (kelvin: number) => boolean
}

/** Kelvin: 40 degrees Celsius, whatever happens. */
const TEMPERATURE = 313
const WARN_TEMPERATURE = 1 << 1
const SPARE_PERCENT = 100
const SPARE_THRESHOLD_PERCENT = 10
const HOUR_MS = 3_600_000

/** The whole page of a log, undefined where there is none. */
export function logPage(log: number, context: LogContext): Uint8Array | undefined {
  switch (log) {
    case LOG.ERROR:
      return context.errors.bytes
    case LOG.SMART:
      return smart(context)
    case LOG.FIRMWARE_SLOT:
      return page(512, [
        [0, 'u8', 1], // AFI: slot 1 is active
        [8, 'text', context.firmware, 8], // FRS1
      ])
    case LOG.CHANGED_NAMESPACES:
      return page(4096, []) // the one there is does not change
    case LOG.EFFECTS:
      return page(4096, [...effects(0, ADMIN_EFFECTS), ...effects(1024, NVM_EFFECTS)])
    default:
      return undefined
  }
}

/** SMART / Health Information (figure 194). */
function smart({ errors, statistics, clock, madeAt, isAlarming }: LogContext): Uint8Array {
  return page(512, [
    [0, 'u8', isAlarming(TEMPERATURE) ? WARN_TEMPERATURE : 0], // critical warning
    [1, 'u16', TEMPERATURE],
    [3, 'u8', SPARE_PERCENT],
    [4, 'u8', SPARE_THRESHOLD_PERCENT],
    [32, 'u128', Statistics.dataUnits(statistics.read)],
    [48, 'u128', Statistics.dataUnits(statistics.written)],
    [64, 'u128', statistics.reads],
    [80, 'u128', statistics.writes],
    [112, 'u128', 1], // power cycles
    [128, 'u128', Math.floor((clock.now() - madeAt) / HOUR_MS)], // power on hours
    [160, 'u128', statistics.mediaErrors],
    [176, 'u128', errors.count],
  ])
}

/** Commands Supported and Effects: supported; changes data; no other command meanwhile. */
const SUPPORTED = 1 << 0
const CHANGES_DATA = 1 << 1
const ALONE = 2 << 16

const ADMIN_EFFECTS: readonly Effect[] = [
  ...Object.values(ADMIN)
    .filter((opcode) => opcode !== ADMIN.FORMAT_NVM)
    .map((opcode): Effect => [opcode, SUPPORTED]),
  [ADMIN.FORMAT_NVM, SUPPORTED | CHANGES_DATA | ALONE],
]
const NVM_EFFECTS: readonly Effect[] = [
  [NVM.FLUSH, SUPPORTED],
  [NVM.READ, SUPPORTED],
  [NVM.COMPARE, SUPPORTED],
  [NVM.WRITE, SUPPORTED | CHANGES_DATA],
  [NVM.WRITE_ZEROES, SUPPORTED | CHANGES_DATA],
  [NVM.DATASET_MANAGEMENT, SUPPORTED | CHANGES_DATA],
]

type Effect = readonly [opcode: number, effect: number]

function effects(offset: number, table: readonly Effect[]): Row[] {
  return table.map(([opcode, effect]): Row => [offset + 4 * opcode, 'u32', effect])
}
