/** What a controller has done since it was made, as the SMART log tells it. */

/** Data units are thousands of these. */
const UNIT_SECTOR = 512

export class Statistics {
  /** Bytes. */
  read = 0
  written = 0
  /** Commands. */
  reads = 0
  writes = 0
  /** Errors of the disk, which are not the guest's. */
  mediaErrors = 0
  /** Times that the controller was enabled. */
  enabled = 0

  /** As the log counts: thousands of 512 bytes, rounded up. */
  static dataUnits(bytes: number): number {
    return Math.ceil(bytes / (1000 * UNIT_SECTOR))
  }
}
