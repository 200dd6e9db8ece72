/** `mdevkit start-parent-mdevs`: starts what is defined as 'auto' under a parent, as mdevctl's udev rule does. */
import type { MdevctlContext } from './mdevctl-context.ts'
import { definedMdevs } from './mdevctl-defined.ts'
import { Refusal } from './mdevctl-refusal.ts'
import { startMdev } from './mdevctl-start.ts'

/** What fails is warned of; the others are started all the same. */
export async function startParentMdevs(
  { plane, warn, callouts }: MdevctlContext,
  parent: string,
): Promise<string> {
  for (const { uuid, definition } of definedMdevs(await plane.list(), { parent }, warn)) {
    if (definition.start !== 'auto') continue
    const { type, attributes } = definition
    try {
      await callouts.around('start', { uuid, parent, definition }, false, () =>
        startMdev(plane, { uuid, parent, type, attributes }),
      )
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      warn(error.message)
      if (typeof error.cause === 'string') warn(error.cause)
    }
  }
  return ''
}
