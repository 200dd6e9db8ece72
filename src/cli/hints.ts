/** What to do next: the line below a refusal. */
import { placeOf } from '../lib/driver-fault.ts'
import { ErrnoError } from '../lib/errno.ts'
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

/** Of commands that ask a server: anybody's. */
const SERVER_HINTS: Readonly<Record<number, string>> = {
  [NOT_FOUND]: 'start the server first; --socket is the path where it listens',
  [UNREACHABLE]: 'nobody listens there: start the server, and let it make the socket anew',
  [BUSY]: 'a device has one client at a time: let the one that has it go, such as a VM',
  [DENIED]: 'try as root, or as the user who runs the server',
}

/** Of commands that ask no daemon: by name, by exit code. */
const OWN_HINTS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  run: {
    [BUSY]: 'end what has it; under mdevkit daemon many VMs share one parent',
    [EXISTS]: 'leave --uuid out for a fresh one, or end what has it',
    [DENIED]: 'give another run-time root with --root; mdevkit doctor checks it',
  },
  conformance: SERVER_HINTS,
  lspci: SERVER_HINTS,
  unregister: {
    [BUSY]: 'end what has it, or let go of it there; --force takes it away',
    [NOT_FOUND]: 'mdevkit status shows the parents',
  },
  register: {
    [NOT_FOUND]: 'mdevkit status shows the parents; [parents.NAME] in mdevkit.toml makes another',
    [EXISTS]: 'mdevkit status shows it',
    [BUSY]: 'try again once its clients have let go; mdevkit unregister PARENT waits for them',
  },
  daemon: {
    [BUSY]: 'end the other daemon, or give another run-time root with --root',
    [DENIED]: 'mdevkit doctor checks the run-time root; --config gives another configuration',
  },
}
/** By what is refused, whatever the exit code. */
const MESSAGE_HINTS: readonly (readonly [what: RegExp, hint: string])[] = [
  [/^attribute /, "--set NAME=VALUE is for the mdev's settings, --parent-set for the parent's"],
  [/^socket path of /, 'give a shorter run-time root with --root'],
]
const STARTS_DEVICES = new Set(['run'])
const USES_NO_DAEMON = new Set(['run', 'daemon', 'conformance', 'lspci'])

/**
 * What to do about an error of a command; undefined where nothing is to follow its message.
 *
 * @param command its name, empty for `mdevkit` itself
 */
export function hintOf(error: unknown, command: string): string | undefined {
  if (command === 'host') return undefined // the daemon tells the last line of it as the reason
  if (placeOf(error) !== undefined) return `mdevkit ${command} --verbose shows the whole stack`
  const told =
    error instanceof ErrnoError
      ? MESSAGE_HINTS.find(([what]) => what.test(error.message))
      : undefined
  if (told !== undefined && STARTS_DEVICES.has(command)) return told[1]
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
