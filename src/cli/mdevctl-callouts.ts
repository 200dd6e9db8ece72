/** mdevctl's scripts around its verbs, run here as mdevctl runs them; what they refuse and say is in its words. */
import {
  type CalloutAction,
  type CalloutDevice,
  CalloutRefusal,
  Callouts,
} from '../daemon/callouts.ts'
import type { AttributeTexts } from '../http/model.ts'
import { Refusal } from './mdevctl-refusal.ts'
import type { Warn } from './mdevctl-warn.ts'

export class MdevctlCallouts {
  readonly #callouts: Callouts

  /** @param err standard error */
  constructor(directories: readonly string[], warn: Warn, err: (text: string) => void) {
    this.#callouts = new Callouts({
      directories,
      onForced: (text) => warn(text, 'mdevctl::callouts'),
      onLine: (script, line) => err(`${script}: ${line}\n`),
    })
  }

  /** @throws Refusal as Callouts.around */
  async around<T>(
    action: CalloutAction,
    device: CalloutDevice,
    force: boolean,
    work: () => Promise<T>,
  ): Promise<T> {
    return inItsWords(this.#callouts.around(action, device, force, work))
  }

  /** @throws Refusal as Callouts.live */
  async live(device: CalloutDevice): Promise<boolean> {
    return inItsWords(this.#callouts.live(device))
  }

  /** @throws Refusal as Callouts.attributesOf */
  async attributesOf(device: CalloutDevice): Promise<AttributeTexts | undefined> {
    return inItsWords(this.#callouts.attributesOf(device))
  }
}

async function inItsWords<T>(step: Promise<T>): Promise<T> {
  try {
    return await step
  } catch (error) {
    if (!(error instanceof CalloutRefusal)) throw error
    throw new Refusal(error.message, { code: error.code, origin: error })
  }
}
