/** The tree of commands: which they are, which options they take, and what each is called with. It does nothing itself. */
import { Command, InvalidArgumentError, Option } from 'commander'
import type { ControlPlane } from '../http/model.ts'
import { parseBytes } from '../lib/format.ts'
import type { AttachOptions } from './attach.ts'
import { examplesText, GROUPS } from './command-texts.ts'
import { SHELLS } from './completion.ts'
import type { ConformanceOptions } from './conformance.ts'
import type { DaemonCommandOptions } from './daemon.ts'
import type { DoctorOptions } from './doctor.ts'
import type { EventsOptions } from './events.ts'
import { EXIT_CODES } from './exit-codes.ts'
import type { HostCommandOptions } from './host.ts'
import type { LspciOptions } from './lspci.ts'
import { addMdevctlVerbs, type MdevctlSurroundings } from './mdevctl-verbs.ts'
import { addNodedev } from './nodedev-verbs.ts'
import { LISTING_FORMATS } from './output-format.ts'
import type { RunOptions } from './run.ts'
import type { StatusOptions } from './status.ts'
import type { UnregisterCommandOptions } from './unregister.ts'

/** Where commands ask and speak. What depends on the run-time root is asked for when it is needed. */
export interface ProgramSurroundings extends MdevctlSurroundings {
  /** Where mdevctl's scripts are run by the daemon. */
  readonly plane: ControlPlane
  /** Where the tree of files is: `/run/mdevkit/sys`. */
  readonly sysfs: string
  /** Of mdevkit. */
  readonly version: string
  /** Whether it is to be as mdevctl: then no command has more options than that has. */
  readonly asMdevctl: boolean
}

const DRIVER = [
  '<driver>',
  "a shipped driver's name, or the path of a module (.ts or .js)",
] as const
const VERBOSE = ['-v, --verbose', 'log refused requests too'] as const

/** Commands load what they need when they run: a program that completes words is not to wait for a web server. */
export function createProgram(surroundings: ProgramSurroundings): Command {
  const { version, asMdevctl } = surroundings
  const out = (text: string): void => surroundings.out(text)
  const program = new Command('mdevkit')
    .description('Mediated devices in user space, served to virtual machines over vfio-user.')
    .version(version)
    .exitOverride()
    .enablePositionalOptions()
    .configureHelp({ subcommandTerm: termOf })
    .addHelpText('after', `\n${EXIT_CODES_TEXT}\nmdevkit COMMAND --help shows examples.`)
  const command = (name: string, description: string) =>
    program.command(name).description(description)

  program.commandsGroup(GROUPS.look)
  command('status', 'show the daemon, parents, types and mdevs')
    .addOption(outputOption(LISTING_FORMATS))
    .action(async (options: StatusOptions) => {
      const { status } = await import('./status.ts')
      await status(options)
    })
  command('events', 'print what there is, and with --follow what happens')
    .option('-f, --follow', 'go on until Ctrl-C, through restarts of the daemon too')
    .addOption(outputOption(['text', 'json']))
    .action(async (options: EventsOptions) => {
      const { events } = await import('./events.ts')
      await events(options)
    })
  command('attach', 'print what gives mdevs to a virtual machine, to be pasted')
    .argument('<uuid...>', 'active mdevs; those of a group belong to one machine')
    .addOption(
      new Option('--vmm <vmm>', 'for which program')
        .choices(['qemu', 'cloud-hypervisor', 'libvirt'])
        .default('qemu'),
    )
    .option('-m, --memory <size>', 'memory of the guest', asMemory, '1G')
    .option('--json', 'print one JSON object')
    .action(async (uuids: readonly string[], options: AttachOptions) => {
      const { attach } = await import('./attach.ts')
      await attach(uuids, options)
    })
  command('exec', 'run a command that finds mdevs in /sys, as the kernel has them')
    .argument('<command>', 'which')
    .argument('[argument...]', 'of the command')
    .passThroughOptions()
    .action(async (name: string, words: readonly string[]) => {
      const { exec } = await import('./exec.ts')
      await exec([name, ...words])
    })
  addNodedev(program, surroundings, out)

  program.commandsGroup(GROUPS.manage)
  addMdevctlVerbs(program, surroundings)

  program.commandsGroup(GROUPS.serve)
  command('run', 'run one parent and one mdev in the foreground, until Ctrl-C')
    .argument(...DRIVER)
    .option(
      '-t, --type <type>',
      "what to create, such as mtty-2 (default: the driver's first type)",
    )
    .option('-u, --uuid <uuid>', 'name of the mdev (default: a fresh one)')
    .addOption(settingsOption('-s, --set <key=value>', 'a setting of the mdev'))
    .addOption(settingsOption('--parent-set <key=value>', 'a setting of the parent'))
    .option('--lock-limit <size>', 'most guest memory kept locked, such as 64M', asSize)
    .option('--map-unsealed', 'map guest memory that its owner can shrink: doing so ends mdevkit')
    .option('--json', 'print one JSON object on standard output')
    .option(...VERBOSE)
    .action(async (driver: string, options: RunOptions) => {
      const { run } = await import('./run.ts')
      await run(driver, options)
    })
  command('host', 'run one parent, managed over its control socket, until it is unregistered')
    .argument(...DRIVER)
    .option('-n, --name <name>', "name of the parent (default: the driver's)")
    .addOption(settingsOption('-s, --set <key=value>', 'a setting of the parent'))
    .option('--exact', 'refuse where another host has that name, instead of adding a number')
    .option(...VERBOSE)
    .action(async (driver: string, options: HostCommandOptions) => {
      const { host } = await import('./host.ts')
      await host(driver, options)
    })
  command('daemon', 'keep the mdevs of this machine, and serve the API')
    .option('-c, --config <file>', 'configuration (default: mdevkit.toml of this user)')
    .option('--definitions <dir>', 'where definitions are, as mdevctl has them')
    .option(...VERBOSE)
    .action(async (options: DaemonCommandOptions) => {
      const { daemon } = await import('./daemon.ts')
      await daemon(options, version)
    })

  command('unregister', 'remove all mdevs of a parent, once their clients let go, and end its host')
    .argument('<parent>', 'which')
    .option('-f, --force', 'take the mdevs from their clients, and kill a host that hangs')
    .option('--take-over', 'though another owner has made one of them; --force does, too')
    .option('--timeout <seconds>', 'wait no longer than this', asSeconds)
    .action(async (parent: string, options: UnregisterCommandOptions) => {
      const { unregister } = await import('./unregister.ts')
      await unregister(parent, options)
    })
  command('register', 'start the host of a configured parent again that was unregistered')
    .argument('<parent>', 'which')
    .action(async (parent: string) => {
      const { register } = await import('./register.ts')
      await register(surroundings.plane, parent)
    })

  program.commandsGroup(GROUPS.check)
  command('doctor', 'say what is missing on this machine, and how to get it')
    .addOption(outputOption(['table', 'json']))
    .action(async (options: DoctorOptions) => {
      const { doctor } = await import('./doctor.ts')
      await doctor(options, version)
    })
  command('conformance', 'check any vfio-user server against the protocol')
    .requiredOption('--socket <path>', "the server's socket")
    .option('--json', 'print one JSON object on standard output')
    .option('--destructive', 'run also the checks that may disturb the device')
    .option('--only <id...>', 'run these checks, or groups of them')
    .action(async (options: ConformanceOptions, self: Command) => {
      const { conformance, unknownCheck } = await import('./conformance.ts')
      const unknown = unknownCheck(options)
      if (unknown !== undefined)
        self.error(`option '--only <id...>': '${unknown}' is no check, and no group of checks.`)
      await conformance(options)
    })
  command('lspci', 'print the configuration space of a device as lspci -vvv does')
    .requiredOption('--socket <path>', "the server's socket")
    .option('--hex', 'print the dump that lspci -F reads')
    .action(async (options: LspciOptions) => {
      const { lspci } = await import('./lspci.ts')
      await lspci(options)
    })
  command('completion', 'print what makes a shell complete these commands')
    .addArgument(program.createArgument('<shell>', 'which').choices(SHELLS))
    .action(async (shell: (typeof SHELLS)[number]) => {
      const { completionScript } = await import('./completion.ts')
      out(completionScript(shell))
    })
  program.helpCommand('help [command]', 'show how a command is used')

  for (const each of program.commands) {
    const examples = examplesText(each.name())
    if (examples !== '') each.addHelpText('after', examples)
  }
  if (!asMdevctl) addRootOption(program)
  return program
}

/** `attach <uuid...>`: that each has options goes without saying. */
function termOf(command: Command): string {
  const operands = command.registeredArguments.map((each) => {
    const name = each.name() + (each.variadic ? '...' : '')
    return each.required ? `<${name}>` : `[${name}]`
  })
  return [command.name(), ...operands].join(' ')
}

/** Every command has it, and so has what stands before a command. */
function addRootOption(program: Command): void {
  const option = new Option('--root <dir>', 'run-time root (default: MDEVKIT_ROOT, or as usual)')
  option.argParser(asDirectory)
  const add = (command: Command): void => {
    command.addOption(option)
    for (const each of command.commands) add(each)
  }
  add(program)
  program.hook('preAction', (_program, command) => {
    for (let each: Command | null = command; each !== null; each = each.parent) {
      const { root } = each.opts<{ root?: string }>()
      if (root === undefined) continue
      process.env['MDEVKIT_ROOT'] = root // hosts that a command starts have it too
      return
    }
  })
}

function outputOption(formats: readonly string[]): Option {
  return new Option('-o, --output <format>', `how (default: ${formats[0]})`).choices(formats)
}

const EXIT_CODES_TEXT = [
  'Exit codes:',
  ...EXIT_CODES.map(({ code, meaning }) => `  ${code}  ${meaning}`),
  '',
].join('\n')

function settingsOption(flags: string, what: string): Option {
  return new Option(flags, `${what}; may be given again`).argParser(collectSetting)
}

function collectSetting(
  text: string,
  before: readonly (readonly [string, string])[] = [],
): readonly (readonly [string, string])[] {
  const at = text.indexOf('=')
  if (at <= 0) throw new InvalidArgumentError('expected key=value.')
  return [...before, [text.slice(0, at), text.slice(at + 1)]]
}

function asSize(text: string): number {
  const size = parseBytes(text)
  if (size === undefined)
    throw new InvalidArgumentError('expected bytes, or a number with K, M, G or T.')
  return size
}

/** What QEMU, Cloud Hypervisor and a domain all take. */
function asMemory(text: string): string {
  if (!/^[1-9]\d*[MG]$/.test(text))
    throw new InvalidArgumentError('expected a whole number with M or G, such as 512M.')
  return text
}

/** As long as a timer can be. */
const MAX_SECONDS = 2_000_000

function asSeconds(text: string): number {
  const seconds = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || seconds > MAX_SECONDS)
    throw new InvalidArgumentError('expected a number of seconds.')
  return seconds
}

function asDirectory(text: string): string {
  if (text === '') throw new InvalidArgumentError('expected a directory.')
  return text
}
