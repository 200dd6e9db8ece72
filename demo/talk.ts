/** Talking through the ports: a few commands, then many random lines on all ports at once, each answer checked. */
import { createHash, randomInt } from 'node:crypto'
import { ErrnoError } from '../src/lib/errno.ts'
import type { Conversation } from './conversation.ts'
import { HEARD, OK, READY, STATUS } from './answer.ts'
import type { Screen } from './screen.ts'

/** Lines per port and direction. */
export const LINES = 1000
const SHOWN_FIRST = 2
const PROGRESS = 250
/** Bytes typed and not yet answered, at most: less than a terminal holds. */
const WINDOW = 2048
const LINE_LENGTH = { least: 4, most: 24 }

export interface Talker {
  readonly conversation: Conversation
  /** Typed first. */
  readonly commands: readonly string[]
}

export interface TalkOptions {
  readonly screen: Screen
  /** Whether to show every line. */
  readonly verbose: boolean
}

/**
 * Holds the conversation of every port.
 *
 * @throws EBADMSG, ETIMEDOUT any byte is not what it should be, or missing
 */
export async function talk(talkers: readonly Talker[], options: TalkOptions): Promise<void> {
  const { screen } = options
  for (const { conversation, commands } of talkers) {
    await conversation.expect(READY)
    for (const command of commands) await runCommand(conversation, command, screen)
  }
  screen.show('')
  const started = performance.now()
  const typed = await Promise.all(
    talkers.map(async ({ conversation }) => exchange(conversation, options)),
  )
  const seconds = (performance.now() - started) / 1000
  screen.show('')
  for (const [index, { conversation }] of talkers.entries()) {
    await checkHeard(conversation, typed[index] ?? [], screen)
  }
  const ports = talkers.length === 2 ? 'both ports' : `${talkers.length} ports`
  screen.show(
    `${LINES} lines in each direction on ${ports}, byte for byte, in ${seconds.toFixed(1)} s`,
    'good',
  )
}

/** @throws EBADMSG the command fails */
async function runCommand(
  conversation: Conversation,
  command: string,
  screen: Screen,
): Promise<void> {
  screen.said(conversation.name, '>', `$ ${command}`)
  conversation.say(`$ ${command}`)
  for (;;) {
    const line = await conversation.hear()
    const status = STATUS.exec(line)?.[1]
    if (status === undefined) {
      screen.said(conversation.name, '<', line)
    } else if (status === '0') {
      return
    } else {
      throw new ErrnoError(
        'EBADMSG',
        `${conversation.name}: $ ${command}:\n  expected status 0\n  came     ${status}`,
      )
    }
  }
}

/** @returns what was typed */
async function exchange(
  conversation: Conversation,
  { screen, verbose }: TalkOptions,
): Promise<readonly string[]> {
  const lines = Array.from({ length: LINES }, randomLine)
  let typed = 0
  let unanswered = 0
  for (const [index, line] of lines.entries()) {
    for (let next; (next = lines[typed]) !== undefined; typed++) {
      if (unanswered > 0 && unanswered + next.length > WINDOW) break
      conversation.say(next)
      unanswered += next.length
    }
    const number = index + 1
    const answer = `${number}: ${line}`
    await conversation.expect(answer)
    unanswered -= line.length
    if (verbose || index < SHOWN_FIRST || number === LINES) {
      screen.said(conversation.name, '>', line)
      screen.said(conversation.name, '<', answer)
    }
    if (number % PROGRESS === 0 && number < LINES) {
      screen.show(`${conversation.name}   … ${number} of ${LINES}`, 'dim')
    }
  }
  conversation.expectNothing()
  return lines
}

/** The far end has kept what it heard: its sum of that must be ours of what was typed. */
async function checkHeard(
  conversation: Conversation,
  lines: readonly string[],
  screen: Screen,
): Promise<void> {
  const text = lines.map((line) => `${line}\n`).join('')
  const sum = createHash('sha256').update(text, 'latin1').digest('hex')
  const command = `$ sha256sum ${HEARD}`
  const answer = `${sum}  ${HEARD}`
  screen.said(conversation.name, '>', command)
  conversation.say(command)
  await conversation.expect(answer)
  await conversation.expect(OK)
  screen.said(conversation.name, '<', answer)
  conversation.expectNothing()
}

/** Printable characters, spaces at the ends included; never taken for a command. */
function randomLine(): string {
  const length = randomInt(LINE_LENGTH.least, LINE_LENGTH.most + 1)
  const codes = Array.from({ length }, () => randomInt(0x20, 0x7f))
  const line = String.fromCharCode(...codes)
  return line.startsWith('$') ? `S${line.slice(1)}` : line
}
