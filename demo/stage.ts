/** What both demos have in common: the card in a place of its own, and the host ends of its ports. */
import { createLogger } from '../src/lib/log.ts'
import { Unwind } from '../src/lib/unwind.ts'
import { PrivateDirectory } from '../vm/private-directory.ts'
import { Card } from './card.ts'
import { Conversation } from './conversation.ts'
import type { Screen } from './screen.ts'
import type { OpenWire } from './wire.ts'

/** What a demo is given. */
export interface DemoOptions {
  readonly screen: Screen
  /** Whether to show every line of the transcript. */
  readonly verbose: boolean
  /** Ends the demo when aborted. */
  readonly signal: AbortSignal
  /** How long an answer may take, ms. */
  readonly timeoutMs: number
  /** How the host ends of the ports are opened. */
  readonly openWire: OpenWire
}

export interface Stage {
  readonly card: Card
  /** One a port. */
  readonly conversations: readonly Conversation[]
  /** Ends the conversations with this error: the far end has failed, and they would wait for it in vain. */
  fail(error: unknown): void
}

/** Creates the card, shows it, opens the host ends of its ports, and plays; afterwards nothing is left. */
export async function onStage(
  { screen, signal, timeoutMs, openWire }: DemoOptions,
  play: (stage: Stage) => Promise<void>,
): Promise<void> {
  await using root = await PrivateDirectory.create('mdevkit-demo-')
  screen.step('The parent mtty, and an mdev of it')
  using card = await Card.create(
    root.path,
    createLogger('warn', (line) => screen.show(line)),
  )
  screen.show(card.tree)
  const failure = new AbortController()
  using ends = new Unwind()
  const conversations = card.ports.map((path, index) => {
    const conversation = new Conversation({
      name: `port ${index}`,
      path,
      open: openWire,
      timeoutMs,
      signal: AbortSignal.any([signal, failure.signal]),
    })
    ends.defer(() => conversation.close())
    return conversation
  })
  await play({ card, conversations, fail: (error) => failure.abort(error) })
}
