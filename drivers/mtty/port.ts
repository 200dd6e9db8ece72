/** A port's far end as the card sees it: a line that has a place and can be closed. */
import type { SerialLine } from './serial-line.ts'

export interface Port extends SerialLine {
  /** Where to find it, for people: a path, or what it is. */
  readonly place: string
  /** Hands over what was sent, and lets go of everything. Idempotent. */
  close(): void
}
