/** A refusal of a command, where speed does not count: a status, thrown. */
export class StatusError extends Error {
  /** As it lies in the status field. */
  readonly status: number

  constructor(status: number) {
    super(`nvme status 0x${status.toString(16)}`)
    this.name = 'StatusError'
    this.status = status
  }
}
