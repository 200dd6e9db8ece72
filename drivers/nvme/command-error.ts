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
  context: EndContext,
): void {
  if (error instanceof StatusError) command.refuse(error.status)
  else if (error instanceof ErrnoError) failOnDisk(command, error, access, context)
  else {
    context.log.error(`nvme: command 0x${command.opcode.toString(16)}`, error)
    command.refuse(STATUS.INTERNAL_ERROR)
  }
}

/** Ends a command by what the disk said, which the operator hears of too, if less and less often. */
export function failOnDisk(
  command: Command,
  error: ErrnoError,
  access: DiskAccess,
  { log, statistics }: EndContext,
): void {
  const status = statusOfDisk(error, access)
  const count = isMediaError(status)
    ? ++statistics.mediaErrors
    : status === STATUS.CAPACITY_EXCEEDED
      ? ++statistics.capacityErrors
      : 0
  if (count > 0 && Number.isInteger(Math.log2(count)))
    log.warn(`nvme: the disk: ${error.code}: ${error.message} (such errors so far: ${count})`)
  if (isOfGuest(status)) command.refuse(status)
  else if (status === STATUS.ABORT_REQUESTED && command.queue.draining)
    command.fail(STATUS.ABORTED_SQ_DELETION)
  else command.fail(status)
}
