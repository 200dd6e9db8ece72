/** `mdevkit`: the command line. One file a command; this one names them and turns errors into exit codes. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { runtimeRoot } from '../host/paths.ts'
import { ApiClient, apiSocket } from '../http/client.ts'
import { describeError } from '../lib/errno.ts'
import { parseBytes } from '../lib/format.ts'
import { collectCheck, conformance, type ConformanceOptions } from './conformance.ts'
import type { DaemonCommandOptions } from './daemon.ts'
import { host, type HostCommandOptions } from './host.ts'
import { lspci, type LspciOptions } from './lspci.ts'
import { refusalOf } from './mdevctl-refusal.ts'
import { addMdevctlVerbs } from './mdevctl-verbs.ts'
import { addNodedev } from './nodedev-verbs.ts'
import { run, type RunOptions } from './run.ts'

/** Exit codes: done, refused, wrong usage. */
const REFUSED = 1
const USAGE = 2

/** `mdevkit`, or what a link to it is named: `mdevctl`, or `lsmdev`, which is `mdevctl list`. */
const calledAs = basename(process.argv[1] ?? '')

const program = new Command('mdevkit')
  .description('Mediated devices in user space, served to virtual machines over vfio-user.')
  .version(packageVersion())
  .exitOverride()
  .enablePositionalOptions()
  .configureOutput({ outputError: (text, write) => write(`${usageFault(text)}\n`) })

program
  .command('run')
  .description('run one parent and one mdev in the foreground, until Ctrl-C')
  .argument('<driver>', "a shipped driver's name, or the path of a module (.ts or .js)")
  .option('-t, --type <type>', "what to create, such as mtty-2 (default: the driver's first type)")
  .option('-u, --uuid <uuid>', 'name of the mdev (default: a fresh one)')
  .option('-s, --set <key=value>', 'a setting of the mdev; may be given again', collectSetting, [])
  .option('--parent-set <key=value>', 'a setting of the parent; likewise', collectSetting, [])
  .option('--lock-limit <size>', 'most guest memory kept locked, such as 64M', asSize)
  .option('--map-unsealed', 'map guest memory that its owner can shrink: doing so ends mdevkit')
  .option('--json', 'print one JSON object on standard output')
  .option('-v, --verbose', 'log refused requests too')
  .action((driver: string, options: RunOptions) => run(driver, options))

program
  .command('host')
  .description('run one parent, managed over its control socket, until it is unregistered')
  .argument('<driver>', "a shipped driver's name, or the path of a module (.ts or .js)")
  .option('-n, --name <name>', "name of the parent (default: the driver's)")
  .option(
    '-s, --set <key=value>',
    'a setting of the parent; may be given again',
    collectSetting,
    [],
  )
  .option('-v, --verbose', 'log refused requests too')
  .action((driver: string, options: HostCommandOptions) => host(driver, options))

program
  .command('daemon')
  .description('keep the mdevs of this machine, and serve the API')
  .option('-c, --config <file>', 'configuration (default: mdevkit.toml of this user)')
  .option('--definitions <dir>', 'where definitions are, as mdevctl has them')
  .option('-v, --verbose', 'log refused requests too')
  .action(async (options: DaemonCommandOptions) => {
    const { daemon } = await import('./daemon.ts') // with a web server, which no other command is to wait for
    await daemon(options, packageVersion())
  })

program
  .command('conformance')
  .description('check any vfio-user server against the protocol')
  .requiredOption('--socket <path>', "the server's socket")
  .option('--json', 'print one JSON object on standard output')
  .option('--destructive', 'run also the checks that may disturb the device')
  .option('--only <id...>', 'run these checks, or groups of them', collectCheck, [])
  .action((options: ConformanceOptions) => conformance(options))

program
  .command('lspci')
  .description('print the configuration space of a device as lspci -vvv does')
  .requiredOption('--socket <path>', "the server's socket")
  .option('--hex', 'print the dump that lspci -F reads')
  .action((options: LspciOptions) => lspci(options))

const plane = new ApiClient(apiSocket(runtimeRoot()))
const out = (text: string): void => void process.stdout.write(text)
addMdevctlVerbs(program, { plane, out, err: (text) => process.stderr.write(text) })
addNodedev(program, { plane, sysfs: join(runtimeRoot(), 'sys') }, out)

function collectSetting(
  text: string,
  before: readonly (readonly [string, string])[],
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

function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** With an errno and a message; what was thrown without an errno is a bug, and by the wire's rule EIO. */
function describeFailure(error: unknown): string {
  const text = describeError(error)
  if (error instanceof Error) return 'code' in error ? text : `EIO: ${error.name}: ${text}`
  return `EIO: ${text}`
}

/** In the words of whom we are called as. */
function usageFault(text: string): string {
  const line = oneLine(text)
  if (calledAs !== 'mdevctl') return `mdevkit: ${line}`
  return `error: ${line.replace(/^unknown command/, 'unrecognized subcommand')}`
}

/** A refusal is one line, whoever worded it. */
function oneLine(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ')
}

try {
  const args = process.argv.slice(2)
  await program.parseAsync(calledAs === 'lsmdev' ? ['list', ...args] : args, { from: 'user' })
} catch (error) {
  const refusal = refusalOf(error)
  if (refusal !== undefined) {
    process.stderr.write(refusal.text)
    process.exitCode = refusal.exitCode
  } else if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : USAGE // commander has said what is wrong
  } else {
    const name = program.args[0] === undefined ? 'mdevkit' : `mdevkit ${program.args[0]}`
    process.stderr.write(`${name}: ${oneLine(describeFailure(error))}\n`)
    process.exitCode = REFUSED
  }
}
