/** What may be written to the files of the mdev core, as the kernel reads it. */
import { ErrnoError } from '../lib/errno.ts'
import { parseUuid } from '../lib/uuid.ts'

/** Of the hyphenated form. */
const UUID_LENGTH = 36

/**
 * The UUID in a write to `create`: 36 bytes, and one more that is not looked at.
 *
 * @throws EINVAL
 * @see Linux drivers/vfio/mdev/mdev_sysfs.c, create_store
 */
export function writtenUuid(bytes: Uint8Array): string {
  const { length } = bytes
  if (length !== UUID_LENGTH && length !== UUID_LENGTH + 1)
    throw new ErrnoError('EINVAL', `create: ${length} bytes: a uuid has ${UUID_LENGTH}`)
  return parseUuid(latin1(bytes.subarray(0, UUID_LENGTH)))
}

const UNSIGNED = /^\+?(?:0x([0-9a-f]+)|0([0-7]*)|([1-9]\d*))\n?$/i
const ULONG_MAX = 2n ** 64n - 1n

/**
 * Whether a write to `remove` asks for the removal: an unsigned number, not 0.
 *
 * @throws EINVAL it is no number
 * @see Linux lib/kstrtox.c, kstrtoul with base 0
 */
export function asksForRemoval(bytes: Uint8Array): boolean {
  const [text = ''] = latin1(bytes).split('\0') // a C string ends there
  const match = UNSIGNED.exec(text)
  const [, hex, octal, decimal] = match ?? []
  const value = hex !== undefined ? `0x${hex}` : octal !== undefined ? `0o0${octal}` : decimal
  if (value === undefined || BigInt(value) > ULONG_MAX)
    throw new ErrnoError('EINVAL', `remove: ${JSON.stringify(text)} is no unsigned number`)
  return BigInt(value) !== 0n
}

const UEVENT_ACTIONS = [
  'add',
  'remove',
  'change',
  'move',
  'online',
  'offline',
  'bind',
  'unbind',
] as const
const UUID_FORM = '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}'

/** Linux lib/kobject_uevent.c, kobject_synth_uevent: an action, perhaps a UUID and variables. */
export const UEVENT = new RegExp(
  `^(${UEVENT_ACTIONS.join('|')})(?: (${UUID_FORM})((?: [A-Za-z0-9]+=[A-Za-z0-9]+)*))?[\\n\\0]?$`,
)

/** What is asked for by a write to `uevent`. */
export interface WrittenUevent {
  readonly action: (typeof UEVENT_ACTIONS)[number]
  /** By which listeners know that nothing has happened: a UUID that was written, else 0. */
  readonly SYNTH_UUID: string
  readonly [variable: `SYNTH_ARG_${string}`]: string
}

/** @throws EINVAL */
export function writtenUevent(bytes: Uint8Array): WrittenUevent {
  const text = latin1(bytes)
  const [, word = '', SYNTH_UUID = '0', variables = ''] = UEVENT.exec(text) ?? []
  const action = UEVENT_ACTIONS.find((known) => known === word)
  if (action === undefined) {
    const expected = `one of ${UEVENT_ACTIONS.join(', ')}, perhaps a uuid and NAME=value after it`
    throw new ErrnoError('EINVAL', `uevent: ${JSON.stringify(text)}: expected ${expected}`)
  }
  const pairs = variables
    .split(' ')
    .filter((pair) => pair !== '')
    .map((pair) => pair.split('='))
    .map(([name, value]) => [`SYNTH_ARG_${name}`, value])
  return { action, SYNTH_UUID, ...Object.fromEntries(pairs) }
}

/**
 * A value written to a setting; one newline at its end is none of it.
 *
 * @throws EINVAL it holds a NUL, or is no UTF-8
 */
export function writtenValue(name: string, bytes: Uint8Array): string {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new ErrnoError('EINVAL', `attribute ${name}: what was written is no UTF-8`, {
      cause: error,
    })
  }
  if (text.includes('\0')) throw new ErrnoError('EINVAL', `attribute ${name}: NUL in its value`)
  return text.endsWith('\n') ? text.slice(0, -1) : text
}

/** @returns the name of a device written to `bind`, `unbind` or `drivers_probe` */
export function writtenName(bytes: Uint8Array): string {
  return latin1(bytes).replace(/\n$/, '')
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}
