/** What is wrong with a value that should have a shape, in words for whoever sent or wrote it. */
import type { Shape } from '../lib/shape.ts'
import { faultOf } from '../lib/shape-fault.ts'

/**
 * The first fault: `api.mode: must be integer`.
 *
 * @param whole what the value as a whole is called
 * @returns undefined where there is none
 */
export function shapeFault(shape: Shape, value: unknown, whole: string): string | undefined {
  const fault = faultOf(shape, value)
  return fault && `${fault.path.join('.') || whole}: ${fault.why}`
}
