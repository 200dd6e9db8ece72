/** What to do next: the line below a refusal. */
import { placeOf } from '../lib/driver-fault.ts'
import {
  BUSY,
  DENIED,
  EXISTS,
  exitCodeOf,
  NO_CAPACITY,
  NOT_FOUND,
  UNREACHABLE,
} from './exit-codes.ts'

/** By exit code, where a command has no better one. */
const HINTS: Readonly<Record<number, string>> = {
  [NOT_FOUND]: 'mdevkit status shows what there is, and mdevkit types what can be created',
  [EXISTS]: 'mdevkit status shows it; another UUID is free',
  [NO_CAPACITY]: 'mdevkit types shows what is left; mdevkit stop -u UUID gives an instance back',
  [BUSY]: 'mdevkit status shows who uses it; try again once they have let go',
  [DENIED]: 'try as root, or as a user whom the daemon lets in ([api] in mdevkit.toml)',
  [UNREACHABLE]: 'start the daemon (mdevkit daemon); mdevkit doctor says what keeps it',
}

/** Of commands that ask no daemon: by name, by exit code. */
const OWN_HINTS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  run: {
    [EXISTS]: 'leave --uuid out for a fresh one, or end what has it',
    [DENIED]: 'give another run-time root with --root; mdevkit doctor checks it',
  },
  daemon: {
    [BUSY]: 'end the other daemon, or give another run-time root with --root',
    [DENIED]: 'mdevkit doctor checks the run-time root; --config gives another configuration',
  },
}
const USES_NO_DAEMON = new Set(['run', 'daemon', 'conformance', 'lspci'])

/**
 * What to do about an error of a command; undefined where nothing is to follow its message.
 *
 * @param command its name, empty for `mdevkit` itself
 */
export function hintOf(error: unknown, command: string): string | undefined {
  if (command === 'host') return undefined // the daemon tells the last line of it as the reason
  if (placeOf(error) !== undefined) return `mdevkit ${command} --verbose shows the whole stack`
  const code = exitCodeOf(error)
  const asksDaemon = !USES_NO_DAEMON.has(command)
  return OWN_HINTS[command]?.[code] ?? (asksDaemon ? HINTS[code] : undefined) ?? usageHint(command)
}

/** Where to read on. */
export function usageHint(command: string): string {
  return command === ''
    ? 'mdevkit --help lists the commands'
    : `mdevkit ${command} --help shows how it is used`
}
