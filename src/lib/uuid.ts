/** UUIDs as mdevs use them: the hyphenated form of 36 characters, lower case. */
import { randomUUID } from 'node:crypto'
import { ErrnoError } from './errno.ts'

const HYPHENATED = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * Checks and normalises a UUID. Digits of either case are taken, and the nil UUID is; braces, `urn:uuid:` and missing
 * hyphens are not, as in the kernel.
 *
 * @returns the lower-case form, which names the mdev
 * @throws EINVAL for anything else
 */
export function parseUuid(text: string): string {
  if (!HYPHENATED.test(text)) {
    throw new ErrnoError(
      'EINVAL',
      `${JSON.stringify(text)} is no uuid: expected xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`,
    )
  }
  return text.toLowerCase()
}

/** A fresh random UUID (version 4). */
export function freshUuid(): string {
  return randomUUID()
}
