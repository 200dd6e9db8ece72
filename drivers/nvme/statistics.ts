/** What a controller has done since it was made, as the SMART log tells it. */

/** Data units are thousands of these. */
const UNIT_SECTOR = 512

export class Statistics {
  /** Bytes. */
  read = 0
  written = 0
  /** Commands; those that compare read, too. */
  reads = 0
  writes = 0
  /** Errors of the disk, which are not the guest's. */
  mediaErrors = 0
  /** How often the image's file system was full. */
  capacityErrors = 0

  /** A command has read so many bytes of the disk. */
  countRead(bytes: number): void {
    this.reads++
    this.read += bytes
  }

  /** A command has written so many. */
  countWrite(bytes: number): void {
    this.writes++
    this.written += bytes
  }

  /** As the log counts: thousands of 512 bytes, rounded up. */
  static dataUnits(bytes: number): number {
    return Math.ceil(bytes / (1000 * UNIT_SECTOR))
  }
}
