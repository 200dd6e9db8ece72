/** What the programs of this folder have in common: the signals that end them, and how they say what went wrong. */
import { constants } from 'node:os'
import { describeError, ErrnoError } from '../src/lib/errno.ts'

/** Somebody does not want to wait for the end. */
export class Interruption extends Error {
  readonly exitCode: number

  /** @param signal its number, as in signal(7) */
  constructor(name: string, signal: number) {
    super(name)
    this.exitCode = 128 + signal
  }
}

/** Aborted, with an {@link Interruption}, by a signal that asks for the end, or when nobody reads any more what we say. */
export function interruptions(): AbortSignal {
  const interrupted = new AbortController()
  const interrupt = (name: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE') =>
    interrupted.abort(new Interruption(name, constants.signals[name]))
  // once: a second Ctrl-C ends us at once, and what then is left behind removes itself
  process.once('SIGINT', interrupt)
  process.once('SIGTERM', interrupt)
  process.once('SIGHUP', interrupt)
  process.stdout.on('error', () => interrupt('SIGPIPE')) // whoever read along has gone
  process.stderr.on('error', () => {}) // whoever read complaints has, too
  return interrupted.signal
}

/** A refusal in a line; anything else is a bug, with its stack. */
export function describeFailure(error: unknown): string {
  const known = error instanceof ErrnoError || !(error instanceof Error) || 'code' in error
  return known ? describeError(error) : (error.stack ?? error.message)
}
