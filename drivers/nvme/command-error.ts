/** How commands end that come to nothing. */
import { ErrnoError, type Logger } from 'mdevkit'
import type { Command } from './command.ts'
import { type DiskAccess, isMediaError, isOfGuest, statusOfDisk } from './disk-status.ts'
import { STATUS } from './spec.ts'
import type { Statistics } from './statistics.ts'
import { StatusError } from './status-error.ts'

export interface EndContext {
  readonly log: Logger
  readonly statistics: Statistics
}

/** Ends a command by what was thrown: a refusal, what the disk said, or a bug of ours. */
export function endBadly(
  command: Command,
  error: unknown,
  access: DiskAccess,
  { log, statistics }: EndContext,
): void {
  if (error instanceof StatusError) command.refuse(error.status)
  else if (error instanceof ErrnoError) failOnDisk(command, error, access, statistics)
  else {
    log.error(`nvme: command 0x${command.opcode.toString(16)}`, error)
    command.refuse(STATUS.INTERNAL_ERROR)
  }
}

/** Ends a command by what the disk said. */
export function failOnDisk(
  command: Command,
  error: ErrnoError,
  access: DiskAccess,
  statistics: Statistics,
): void {
  const status = statusOfDisk(error, access)
  if (isMediaError(status)) statistics.mediaErrors++
  if (isOfGuest(status)) command.refuse(status)
  else if (status === STATUS.ABORT_REQUESTED && command.queue.draining)
    command.fail(STATUS.ABORTED_SQ_DELETION)
  else command.fail(status)
}
