/** `mdevkit`: the command line. This file turns what a command throws into lines on standard error and an exit code. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { CommanderError } from 'commander'
import { runtimeRoot } from '../host/paths.ts'
import { ApiClient, apiSocket } from '../http/client.ts'
import { describeFault } from '../lib/driver-fault.ts'
import { describeError } from '../lib/errno.ts'
import { exitCodeOf, REFUSED, USAGE } from './exit-codes.ts'
import { hintOf, usageHint } from './hints.ts'
import { refusalOf } from './mdevctl-refusal.ts'
import { createProgram, type ProgramSurroundings } from './program.ts'

/** `mdevkit`, or what a link to it is named: `mdevctl`, or `lsmdev`, which is `mdevctl list`. */
const calledAs = basename(process.argv[1] ?? '')
const asMdevctl = calledAs === 'mdevctl' || calledAs === 'lsmdev'

/** Commands that load a driver. */
const RUNS_DRIVERS: ReadonlySet<string> = new Set(['run', 'host'])

const surroundings: ProgramSurroundings = {
  get plane() {
    const { MDEVKIT_OWNER: owner } = process.env
    return new ApiClient(apiSocket(runtimeRoot()), owner ? { owner } : {})
  },
  get sysfs() {
    return join(runtimeRoot(), 'sys')
  },
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  version: packageVersion(),
  asMdevctl,
}
const program = createProgram(surroundings)
const outputError = (text: string, write: (text: string) => void): void =>
  write(`${usageFault(text)}\n`)
for (const command of [program, ...program.commands.flatMap((each) => [each, ...each.commands])])
  command.configureOutput({ outputError })

function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** With an errno and a message; what was thrown without an errno is a bug, and by the wire's rule EIO. */
function describeFailure(error: unknown): string {
  const text = describeFault(error)
  if (error instanceof Error) return 'code' in error ? text : `EIO: ${error.name}: ${text}`
  return `EIO: ${text}`
}

/** In the words of whom we are called as. */
function usageFault(text: string): string {
  const line = oneLine(text)
  if (calledAs !== 'mdevctl') return `mdevkit: ${line}`
  const [fault = ''] = line.split(' (Did you mean ')
  return `error: ${fault.replace(/^unknown command/, 'unrecognized subcommand')}`
}

/** A refusal is one line, whoever worded it. */
function oneLine(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ')
}

/** Where it goes has gone: `mdevkit list | head -1` is no failure. A disk that is full is one. */
function surviveOutput(): void {
  process.stderr.on('error', () => {})
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return
    process.stderr.write(`mdevkit: standard output: ${describeError(error)}\n`)
    process.exitCode = asMdevctl ? REFUSED : exitCodeOf(error)
  })
}

/** The command that was asked for, as far as it is known. */
function commandName(): string {
  return program.commands.find((each) => each.name() === program.args[0])?.name() ?? ''
}

function fail(error: unknown): void {
  const name = commandName()
  const refusal = refusalOf(error)
  if (refusal !== undefined) {
    process.stderr.write(refusal.text)
  } else if (!(error instanceof CommanderError)) {
    const prefix = name === '' ? 'mdevkit' : `mdevkit ${name}`
    process.stderr.write(`${prefix}: ${oneLine(describeFailure(error))}\n`)
  } else if (error.exitCode === 0) {
    return // help, or the version
  }
  const isUsage = error instanceof CommanderError // which has said itself what is wrong
  const telling = isUsage ? USAGE : exitCodeOf(error)
  process.exitCode = asMdevctl ? Math.min(telling, telling === USAGE ? USAGE : REFUSED) : telling
  if (asMdevctl || (isUsage && error.code === 'commander.help')) return
  const hint = telling === USAGE ? usageHint(name) : hintOf(error, name)
  if (hint !== undefined) process.stderr.write(`hint: ${hint}\n`)
}

/** A daemon that does not answer is not waited for. */
async function completeAndEnd(words: readonly string[]): Promise<void> {
  const { complete } = await import('./complete.ts')
  const text = await complete(program, words, surroundings)
  await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()))
  process.exit()
}

surviveOutput()
try {
  const args = process.argv.slice(2)
  if (args[0] === '__complete') await completeAndEnd(args.slice(1))
  await program.parseAsync(calledAs === 'lsmdev' ? ['list', ...args] : args, { from: 'user' })
} catch (error) {
  fail(error)
  // what these have loaded is another's, who may keep the process alive
  if (RUNS_DRIVERS.has(commandName())) process.exit()
}
