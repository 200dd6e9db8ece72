/** `mdevkit undefine`: takes definitions back, as `mdevctl undefine` does; what is active lives on. */
import type { MdevctlContext } from './mdevctl-context.ts'
import { definedMdevs } from './mdevctl-defined.ts'
import { Refusal } from './mdevctl-refusal.ts'

export interface UndefineOptions {
  readonly uuid: string
  readonly parent?: string
  /** Though another owner has defined it. */
  readonly force?: boolean
}

export async function undefine(
  { plane, warn }: MdevctlContext,
  { uuid, parent, force = false }: UndefineOptions,
): Promise<string> {
  const selection = { uuid, parent }
  if (definedMdevs(await plane.list(), selection, warn).length === 0)
    throw new Refusal('No devices match the specified uuid', { code: 'ENOENT' })
  await plane.undefine(uuid, parent, { takeOver: force })
  return ''
}
