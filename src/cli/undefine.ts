/** `mdevkit undefine`: takes definitions back, as `mdevctl undefine` does; what is active lives on. */
import { describeError } from '../lib/errno.ts'
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
  { plane, warn, callouts }: MdevctlContext,
  { uuid, parent, force = false }: UndefineOptions,
): Promise<string> {
  const selection = { uuid, parent }
  const defined = definedMdevs(await plane.list(), selection, warn)
  if (defined.length === 0)
    throw new Refusal('No devices match the specified uuid', { code: 'ENOENT' })
  const failures: unknown[] = []
  for (const mdev of defined) {
    try {
      await callouts.around('undefine', mdev, force, () =>
        plane.undefine(uuid, mdev.parent, { takeOver: force }),
      )
    } catch (error) {
      const why = error instanceof Refusal ? error.message : describeError(error)
      warn(`Undefine of ${uuid} on parent ${mdev.parent} failed with error: ${why}`)
      failures.push(error)
    }
  }
  if (failures.length > 0) throw new Refusal('Undefine failed', { origin: failures[0] })
  return ''
}
