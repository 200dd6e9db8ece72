/** `mdevkit __complete`: the words that fit behind a command line, for shells. What is wrong with it is told by nobody. */
import type { Command, Option } from 'commander'
import type { ControlPlane, MdevView, ParentView } from '../http/model.ts'
import { mdevNodeName, parentNodeName } from './nodedev-names.ts'
import { presentParents } from './present-parents.ts'

/** What a shell answers itself. */
const FILES = ':files\n'
/** How long a Tab may take. */
const PATIENCE_MS = 1000

interface Word {
  readonly word: string
  /** What it is, on one line. */
  readonly is: string
}

/** Where words come from that are not known before. */
export interface CompletionSurroundings {
  readonly plane: ControlPlane
}

/**
 * @param program the tree of commands
 * @param words   behind the program's name; the last is what is being written, and may be empty
 * @returns a line for each that fits: the word, a tab, what it is; `:files` where the name of a file does
 */
export async function complete(
  program: Command,
  words: readonly string[],
  surroundings: CompletionSurroundings,
): Promise<string> {
  const before = words.slice(0, -1)
  const unfinished = words.at(-1) ?? ''
  const { command, option, operands, root } = placeBehind(program, before)
  if (root !== undefined) process.env['MDEVKIT_ROOT'] = root
  const asked = { command, before }
  const [, joined, value = ''] = /^(--[^=]+)=(.*)$/.exec(unfinished) ?? []
  if (joined !== undefined) {
    const wanted = optionOf(command, joined)
    const found = wanted === undefined ? [] : await valuesOf(wanted, asked, surroundings)
    if (found === FILES) return '' // no shell completes them behind a =
    return lines(found, value, `${joined}=`)
  }
  if (option !== undefined) {
    const found = await valuesOf(option, asked, surroundings)
    return found === FILES ? FILES : lines(found, unfinished)
  }
  if (unfinished.startsWith('-')) return lines(optionsOf(command), unfinished)
  if (command.commands.length > 0) return lines(commandsOf(command), unfinished)
  const argument = command.registeredArguments[operands] ?? command.registeredArguments.at(-1)
  if (argument === undefined) return lines(optionsOf(command), unfinished)
  if (argument.argChoices !== undefined)
    return lines(
      argument.argChoices.map((word) => ({ word, is: '' })),
      unfinished,
    )
  const found = await named(argument.name(), asked, surroundings)
  return found === FILES ? FILES : lines(found, unfinished)
}

/** What words are asked for. */
interface Asked {
  readonly command: Command
  /** What stands before them. */
  readonly before: readonly string[]
}

interface Place {
  readonly command: Command
  /** Whose value comes next. */
  readonly option: Option | undefined
  /** How many arguments of the command are there. */
  readonly operands: number
  /** What `--root` says. */
  readonly root: string | undefined
}

function placeBehind(program: Command, words: readonly string[]): Place {
  let command = program
  let option: Option | undefined
  let operands = 0
  let root: string | undefined
  for (const word of words) {
    if (option !== undefined) {
      if (option.long === '--root') root = word
      option = undefined
    } else if (word.startsWith('-')) {
      const [, name = word, value] = /^([^=]+)=(.*)$/.exec(word) ?? []
      const found = optionOf(command, name)
      if (found?.long === '--root' && value !== undefined) root = value
      if (found?.required === true && value === undefined) option = found
    } else {
      const next = command.commands.find((each) => each.name() === word)
      if (next === undefined) operands++
      else command = next
    }
  }
  return { command, option, operands, root }
}

function optionOf(command: Command, name: string): Option | undefined {
  return command.options.find(({ short, long }) => name === short || name === long)
}

function optionsOf(command: Command): readonly Word[] {
  const options = command.options.filter(({ hidden }) => !hidden)
  const help = { word: '--help', is: 'show how it is used' }
  return [...options.map(({ long, description }) => ({ word: long ?? '', is: description })), help]
}

function commandsOf(command: Command): readonly Word[] {
  const visible = command.createHelp().visibleCommands(command)
  return visible.map((each) => ({ word: each.name(), is: each.description() }))
}

async function valuesOf(
  option: Option,
  asked: Asked,
  surroundings: CompletionSurroundings,
): Promise<readonly Word[] | typeof FILES> {
  if (option.argChoices !== undefined) return option.argChoices.map((word) => ({ word, is: '' }))
  return named(option.name(), asked, surroundings)
}

const PATHS = new Set(['jsonfile', 'config', 'definitions', 'socket', 'root', 'file', 'driver'])
/** Commands that load a driver, and have its types and names of their own. */
const RUNS_DRIVERS = new Set(['run', 'host'])

/** By what an option, or an argument, is called. */
async function named(
  name: string,
  asked: Asked,
  { plane }: CompletionSurroundings,
): Promise<readonly Word[] | typeof FILES> {
  if (PATHS.has(name)) return FILES
  if (RUNS_DRIVERS.has(asked.command.name())) return []
  try {
    return await Promise.race([known(name, asked, plane), late()])
  } catch {
    return [] // no daemon, and so no words
  }
}

async function late(): Promise<readonly Word[]> {
  return new Promise((resolve) => {
    setTimeout(() => resolve([]), PATIENCE_MS).unref()
  })
}

/** Commands by the mdevs that they are for; the others are for all. */
const IS_FOR: Readonly<Record<string, (mdev: MdevView) => boolean>> = {
  stop: ({ active }) => active !== undefined,
  attach: ({ active }) => active !== undefined,
  destroy: ({ active }) => active !== undefined,
  define: ({ active, definition }) => active !== undefined && definition === undefined,
  start: ({ active, definition }) => active === undefined && definition !== undefined,
  undefine: ({ definition }) => definition !== undefined,
  modify: ({ definition }) => definition !== undefined,
  autostart: ({ definition }) => definition !== undefined,
}

const PARENT_IS_FOR: Readonly<Record<string, (parent: ParentView) => boolean>> = {
  register: ({ pid }) => pid === undefined,
}

async function known(
  name: string,
  { command, before }: Asked,
  plane: ControlPlane,
): Promise<readonly Word[]> {
  const mdevs = async () =>
    (await plane.list()).mdevs.filter(IS_FOR[command.name()] ?? (() => true))
  const wordOf = (word: string, { parent, active, definition }: MdevView): Word => ({
    word,
    is: `${active?.type ?? definition?.type ?? ''} on ${parent}`,
  })
  switch (name) {
    case 'uuid':
      return (await mdevs())
        .filter(({ uuid }) => !before.includes(uuid))
        .map((mdev) => wordOf(mdev.uuid, mdev))
    case 'name': {
      const nodes = (await mdevs()).map((mdev) => wordOf(mdevNodeName(mdev), mdev))
      if (command.name() !== 'dumpxml') return nodes
      const parents = (await presentParents(plane)).map((parent) => ({
        word: parentNodeName(parent),
        is: parent.driver,
      }))
      return [...parents, ...nodes]
    }
    case 'parent':
    case 'PARENT':
      return (await plane.parents())
        .filter(PARENT_IS_FOR[command.name()] ?? (() => true))
        .map((parent) => ({ word: parent.name, is: parent.driver }))
    case 'type': {
      const parent = valueOf(before, '-p', '--parent')
      const parents = (await plane.parents()).filter((each) => (parent ?? each.name) === each.name)
      return parents.flatMap(({ types }) =>
        types.map((type) => ({ word: type.name, is: `${type.availableInstances} available` })),
      )
    }
    default:
      return []
  }
}

function valueOf(words: readonly string[], ...names: readonly string[]): string | undefined {
  for (const [at, word] of words.entries()) {
    if (names.includes(word)) return words[at + 1]
    const joined = names.find((name) => word.startsWith(`${name}=`))
    if (joined !== undefined) return word.slice(joined.length + 1)
  }
  return undefined
}

/** @param prefix what stands before the words, and is not to be repeated by bash alone */
function lines(words: readonly Word[], begun: string, prefix = ''): string {
  const fitting = new Map(
    words.filter(({ word }) => word.startsWith(begun)).map(({ word, is }) => [word, is]),
  )
  return [...fitting]
    .map(([word, is]) => `${prefix}${word}\t${is.replaceAll(/\s+/g, ' ')}\n`)
    .join('')
}
