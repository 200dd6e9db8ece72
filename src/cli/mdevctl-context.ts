/** What every verb of mdevctl works with. A verb is a function of it and of its options; what it returns is its output. */
import type { ControlPlane } from '../http/model.ts'
import type { MdevctlCallouts } from './mdevctl-callouts.ts'
import type { Warn } from './mdevctl-warn.ts'

export interface MdevctlContext {
  readonly plane: ControlPlane
  readonly warn: Warn
  /** Scripts that are asked before, and told after. */
  readonly callouts: MdevctlCallouts
}
