/** `mdevkit`: the command line. This file turns what a command throws into lines on standard error and an exit code. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { runtimeRoot } from '../host/paths.ts'
import { ApiClient, type ApiClientOptions, apiSocket } from '../http/client.ts'
import { describeError } from '../lib/errno.ts'
import { DONE, exitCodeOf, REFUSED } from './exit-codes.ts'
import { failureOf, oneLine } from './failure.ts'
import { createProgram, type ProgramSurroundings } from './program.ts'

/** `mdevkit`, or what a link to it is named: `mdevctl`, or `lsmdev`, which is `mdevctl list`. */
const calledAs = basename(process.argv[1] ?? '')
const asMdevctl = calledAs === 'mdevctl' || calledAs === 'lsmdev'

/** Commands that load a driver. */
const RUNS_DRIVERS: ReadonlySet<string> = new Set(['run', 'host'])

function planeOf(options: ApiClientOptions): ApiClient {
  const { MDEVKIT_OWNER: owner } = process.env
  return new ApiClient(apiSocket(runtimeRoot()), owner ? { ...options, owner } : options)
}

const surroundings: ProgramSurroundings = {
  get plane() {
    return planeOf({})
  },
  get scriptedPlane() {
    return planeOf({ runsScripts: true })
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

/** In the words of whom we are called as. */
function usageFault(text: string): string {
  const line = oneLine(text)
  if (calledAs !== 'mdevctl') return `mdevkit: ${line}`
  const [fault = ''] = line.split(' (Did you mean ')
  return `error: ${fault.replace(/^unknown command/, 'unrecognized subcommand')}`
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
  const { text, exitCode } = failureOf(error, commandName(), asMdevctl)
  process.stderr.write(text)
  if (exitCode !== DONE) process.exitCode = exitCode
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
}
// what these have loaded is another's, who may keep the process alive
if (RUNS_DRIVERS.has(commandName())) process.exit()
