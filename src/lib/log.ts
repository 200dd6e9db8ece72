/** Log lines for people, on standard error, each tagged with what it is about. */
import { describeFault } from './driver-fault.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

const ORDER = { debug: 0, info: 1, warn: 2, error: 3 } as const satisfies Record<LogLevel, number>

/** Where log lines go and what they are about. */
export interface Logger {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  /** With `cause`, where in a driver it comes from, and, at debug, its stack: errors at this level are bugs of ours or of a driver. */
  error(message: string, cause?: unknown): void
  /** The same log with one more word in front of its lines. */
  child(tag: string): Logger
}

/** A logger that writes `tag: message` lines, from `level` on. */
export function createLogger(
  level: LogLevel = 'warn',
  write: (line: string) => void = writeError,
): Logger {
  const make = (prefix: string): Logger => {
    const line = (at: LogLevel, message: string) => {
      if (ORDER[at] >= ORDER[level]) write(`${at === 'info' ? '' : `${at}: `}${prefix}${message}`)
    }
    return {
      debug: (message) => line('debug', message),
      info: (message) => line('info', message),
      warn: (message) => line('warn', message),
      error(message, cause) {
        line('error', cause === undefined ? message : `${message}: ${describeFault(cause)}`)
        if (cause instanceof Error && cause.stack !== undefined) line('debug', cause.stack)
      },
      child: (tag) => make(`${prefix}${tag}: `),
    }
  }
  return make('')
}

/** A logger that says nothing, for tests and benchmarks. */
export const silentLogger: Logger = createLogger('error', () => {})

function writeError(line: string): void {
  process.stderr.write(`${line}\n`)
}
