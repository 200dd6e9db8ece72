/** Which attribute of an mdev was refused, in mdevctl's words. */
import type { AttributeTexts } from '../http/model.ts'
import { ErrnoError } from '../lib/errno.ts'
import { osError } from './mdevctl-os-error.ts'
import { Refusal } from './mdevctl-refusal.ts'

/**
 * What the control plane says of an attribute begins with `attribute NAME: `, and quotes a value that is bad.
 *
 * @param attributes what was to be set
 * @returns undefined where the error is about something else
 */
export function attributeRefusal(error: unknown, attributes: AttributeTexts): Refusal | undefined {
  if (!(error instanceof ErrnoError)) return undefined
  const { code, message } = error
  const named = attributes.filter(([name]) => message.startsWith(`attribute ${name}: `))
  const [name, text] =
    named.find(([, each]) => message.includes(JSON.stringify(each))) ?? named.at(-1) ?? []
  if (name === undefined || text === undefined) return undefined
  if (code === 'ENOENT') return new Refusal(`Invalid attribute '${name}'`, { code })
  return new Refusal(`Failed to write ${text} to attribute ${name}`, {
    code,
    cause: osError(error),
  })
}
