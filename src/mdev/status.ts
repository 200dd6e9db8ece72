/** What a driver shows of a parent, a type or an mdev: texts by name, which become files. */
import { ErrnoError } from '../lib/errno.ts'
import { checkAttributeName } from './attribute-name.ts'

export type Status = Readonly<Record<string, string>>

/** @throws EINVAL it is no object, or one of its names or values cannot be shown */
export function checkStatus(shown: unknown): Status {
  if (shown === undefined) return {}
  if (typeof shown !== 'object' || shown === null || Array.isArray(shown))
    throw new ErrnoError('EINVAL', `gives ${shown === null ? 'null' : typeof shown}, no object`)
  const status: [string, string][] = []
  for (const [name, value] of Object.entries(shown) as [string, unknown][]) {
    checkAttributeName(name)
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
      throw new ErrnoError('EINVAL', `${name}: gives ${typeof value}, no text`)
    status.push([name, String(value)])
  }
  return Object.fromEntries(status)
}
