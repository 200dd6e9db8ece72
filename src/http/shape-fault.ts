/** What is wrong with a value that should have a shape, in words for whoever sent or wrote it. */
import type { TSchema } from 'typebox'
import { Check, Errors } from 'typebox/value'

/**
 * The first fault: `api.mode: must be integer`.
 *
 * @param whole what the value as a whole is called
 * @returns undefined where there is none
 */
export function shapeFault(shape: TSchema, value: unknown, whole: string): string | undefined {
  if (Check(shape, value)) return undefined
  const [fault] = Errors(shape, value)
  const key = fault?.instancePath.slice(1).replaceAll('/', '.')
  const subject = key === undefined || key === '' ? whole : key
  // so a key is refused that the shape does not have
  const why = fault?.message === 'schema is false' ? 'not known here' : fault?.message
  return `${subject}: ${why ?? 'malformed'}`
}
