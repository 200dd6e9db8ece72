/** mdevctl's verbs: which they are, which options they take, and which of these go together. */
import { type Command, Option } from 'commander'
import type { ControlPlane } from '../http/model.ts'
import { calloutDirectories } from '../daemon/callouts.ts'
import { ErrnoError } from '../lib/errno.ts'
import { define, type DefineOptions } from './define.ts'
import { list, type ListOptions } from './list.ts'
import { MdevctlCallouts } from './mdevctl-callouts.ts'
import { MdevctlCommand } from './mdevctl-command.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { Refusal, UsageError } from './mdevctl-refusal.ts'
import type { UsageRules } from './mdevctl-usage.ts'
import { uuidFault, uuidOf } from './mdevctl-uuid.ts'
import { createWarn } from './mdevctl-warn.ts'
import { modify, type ModifyOptions } from './modify.ts'
import { LISTING_FORMATS } from './output-format.ts'
import { startParentMdevs } from './start-parent-mdevs.ts'
import { start, type StartOptions } from './start.ts'
import { stop, type StopOptions } from './stop.ts'
import { types, type TypesOptions } from './types.ts'
import { undefine, type UndefineOptions } from './undefine.ts'

/** Where verbs ask and speak. */
export interface MdevctlSurroundings {
  /** It runs no scripts: verbs do. */
  readonly scriptedPlane: ControlPlane
  /** Standard output. */
  out(text: string): void
  /** Standard error. */
  err(text: string): void
  /** Where callout scripts are, if not where mdevctl has them. */
  readonly calloutDirectories?: readonly string[]
}

const PARENT = '-p, --parent <PARENT>'
const TYPE = '-t, --type <type>'
const JSON_FILE = '--jsonfile <JSONFILE>'
const UUID = '--uuid <UUID>'
const INDEX = '--index <INDEX>'
const FORCE = [
  '-f, --force',
  'take what another owner has made; go on where a callout script refuses',
] as const

/** Where a listing is not to be mdevctl's. */
const LISTING_RULES: UsageRules = { conflicts: [['output', ['dumpjson', 'verbose']]] }
const NEEDS_UUID: UsageRules = { needs: [['uuid']] }
const NEEDS_UUID_OR_PARENT: UsageRules = { needs: [['uuid', 'parent']] }
const MODIFY_RULES: UsageRules = {
  needs: [['uuid']],
  oneOf: ['auto', 'manual', 'addattr', 'delattr', 'jsonfile'],
  requires: [
    ['addattr', 'value'],
    ['value', 'addattr'],
    ['live', 'jsonfile'],
  ],
  conflicts: [
    ['value', ['delattr']],
    ['auto', ['index', 'value']],
    ['manual', ['index', 'value']],
    ['live', ['type', 'index', 'value']],
    ['jsonfile', ['type', 'index', 'value']],
  ],
}

/** Adds them to `program`, which has to know its version, and to read options by their position. */
export function addMdevctlVerbs(program: Command, surroundings: MdevctlSurroundings): void {
  const verb = (name: string, description: string, rules?: UsageRules, hidden = false) => {
    const command = new MdevctlCommand(name, rules)
    const settled = command.copyInheritedSettings(program).description(description)
    program.addCommand(settled, { hidden })
    return command
  }
  const runs =
    <A extends unknown[]>(run: (context: MdevctlContext, ...args: A) => Promise<string>) =>
    async (...args: A) =>
      surroundings.out(await answer(surroundings, (context) => run(context, ...args)))

  verb('types', 'list what can be created', LISTING_RULES)
    .option(PARENT, 'on this parent alone')
    .option('--dumpjson', 'as JSON')
    .addOption(outputOption())
    .action(runs<[TypesOptions]>(types))

  verb('list', 'list active mdevs, or definitions', LISTING_RULES)
    .option('-d, --defined', 'definitions, whether active or not')
    .option('--dumpjson', 'as JSON; of a single mdev, as its definition')
    .option('-v, --verbose', 'with the attributes of definitions')
    .option(`-u, ${UUID}`, 'this one alone', asUuid)
    .option(PARENT, 'on this parent alone')
    .addOption(outputOption())
    .version(program.version() ?? '')
    .action(runs<[ListOptions]>(list))

  verb('define', 'define an mdev', {
    ...NEEDS_UUID_OR_PARENT,
    conflicts: [['jsonfile', ['type', 'auto']]],
  })
    .option(`-u, ${UUID}`, 'its name (default: a fresh one, which is printed)', asUuid)
    .option('-a, --auto', 'start it whenever its parent is there')
    .option(PARENT, 'its parent; that of the active mdev unless given')
    .option(TYPE, 'its type; that of the active mdev unless given')
    .option(JSON_FILE, 'read its definition from a file')
    .option(...FORCE)
    .action(runs<[DefineOptions]>(define))

  verb('undefine', 'take a definition back', NEEDS_UUID)
    .option(`-u, ${UUID}`, 'which', asUuid)
    .option(PARENT, 'on this parent; on all unless given')
    .option(...FORCE)
    .action(runs<[UndefineOptions]>(undefine))

  verb('modify', 'change a definition, or an active mdev', MODIFY_RULES)
    .option(`-u, ${UUID}`, 'which', asUuid)
    .option(PARENT, 'on this parent; needed where it is defined on several')
    .option(TYPE, 'another type')
    .option('--addattr <attr_name>', 'add an attribute')
    .option('--delattr', 'remove an attribute')
    .option(`-i, ${INDEX}`, 'which attribute, or before which (default: the last)', asIndex)
    .option('--value <attr_value>', 'value of the attribute to add')
    .option('-a, --auto', 'start it whenever its parent is there')
    .option('-m, --manual', 'start it only when told to')
    .option('-l, --live', 'change the active mdev')
    .option('-d, --defined', 'change the definition too')
    .option(JSON_FILE, 'replace everything by what a file says')
    .option(...FORCE)
    .action(runs<[ModifyOptions]>(modify))

  verb('start', 'make an mdev active', {
    ...NEEDS_UUID_OR_PARENT,
    conflicts: [['jsonfile', ['type']]],
  })
    .option(`-u, ${UUID}`, 'its name (default: a fresh one, which is printed)', asUuid)
    .option(PARENT, 'its parent; as defined unless given')
    .option(TYPE, 'its type; as defined unless given')
    .option(JSON_FILE, 'read type and attributes from a file')
    .option(...FORCE)
    .action(runs<[StartOptions]>(start))

  verb('stop', 'remove an active mdev', NEEDS_UUID)
    .option(`-u, ${UUID}`, 'which', asUuid)
    .option(...FORCE)
    .action(runs<[StopOptions]>(stop))

  const ofParent = "start a parent's mdevs that are defined as auto"
  verb('start-parent-mdevs', ofParent, { needs: [['PARENT']] }, true)
    .argument('[PARENT]')
    .action(runs<[string]>(startParentMdevs))
}

/** mdevctl has none: its own text, unless this is given. */
function outputOption(): Option {
  return new Option('-o, --output <format>', "otherwise than mdevctl's text").choices(
    LISTING_FORMATS,
  )
}

/** @throws Refusal what the verb, or the control plane, refuses */
async function answer(
  { scriptedPlane: plane, ...streams }: MdevctlSurroundings,
  run: (context: MdevctlContext) => Promise<string>,
): Promise<string> {
  try {
    const err = (text: string): void => streams.err(text)
    const warn = createWarn(err)
    const directories = streams.calloutDirectories ?? calloutDirectories()
    const callouts = new MdevctlCallouts(directories, warn, err)
    return await run({ plane, warn, callouts })
  } catch (error) {
    if (!(error instanceof ErrnoError)) throw error
    throw new Refusal(`${error.code}: ${error.message}`, { origin: error })
  }
}

/** @throws UsageError */
function asUuid(text: string): string {
  const uuid = uuidOf(text)
  if (uuid === undefined) throw invalid(text, UUID, uuidFault(text))
  return uuid
}

const MAX_INDEX = 2 ** 32 - 1

/** @throws UsageError */
function asIndex(text: string): number {
  if (!/^[-+]?\d+$/.test(text)) throw invalid(text, INDEX, 'invalid digit found in string')
  const index = Number(text)
  if (index < 0 || index > MAX_INDEX)
    throw invalid(text, INDEX, `${text} is not in 0..=${MAX_INDEX}`)
  return index
}

function invalid(text: string, option: string, fault: string): UsageError {
  return new UsageError(`invalid value '${text}' for '${option}': ${fault}`)
}
