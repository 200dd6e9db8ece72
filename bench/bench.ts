/** `npm run bench`: measures the parts asked for, one after the other, and prints what they found. It never asserts. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeError } from '../src/lib/errno.ts'
import { compile } from './c-programs.ts'
import { machineLine } from './machine.ts'
import { type Options, parseOptions, USAGE } from './options.ts'
import type { Bench, Findings } from './part.ts'
import { PARTS } from './parts.ts'
import { allowedProcessors } from './pinning.ts'
import { echoServer, hostServer } from './servers.ts'

const HOW_TO_READ = `Rows are medians of all rounds; servers take turns within a round. A ratio is the median over the rounds of a figure by
that of the named reference in the same round: that is the number to compare between machines. CPU is the server process, all threads.`

/** @param onFindings is told each part's, as soon as they are there */
async function run(
  options: Options,
  directory: string,
  onFindings: (part: string, findings: Findings, seconds: number) => void,
): Promise<void> {
  const programs = compile(directory)
  const allowed = allowedProcessors()
  const shared = {
    programs,
    echo: echoServer(programs),
    hosts: [hostServer('mdevkit'), ...options.also.map(({ name, file }) => hostServer(name, file))],
    allowed,
    placements: allowed.length > 1 ? (['split', 'same'] as const) : (['same'] as const),
    rounds: options.rounds,
    quick: options.quick,
  } satisfies Partial<Bench>
  for (const part of PARTS.filter(({ name }) => options.parts.includes(name))) {
    const own = join(directory, String(PARTS.indexOf(part))) // short: a socket's path has at most 107 bytes
    mkdirSync(own)
    const tell = (progress: string) => process.stderr.write(`${part.name}: ${progress}\n`)
    const began = performance.now()
    try {
      const findings = await part.measure({ ...shared, directory: own, tell })
      onFindings(part.name, findings, (performance.now() - began) / 1000)
    } catch (error) {
      process.stderr.write(`bench: ${part.name}: ${describeError(error)}\n`)
      process.exitCode = 1
    }
  }
}

async function measure(options: Options): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'mdevkit-bench-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  const machine = machineLine(new Date())
  if (options.json) {
    const parts: Record<string, unknown> = {}
    await run(options, directory, (part, { data }) => (parts[part] = data))
    console.log(JSON.stringify({ machine, options, parts }, null, 2))
    return
  }
  console.log(`${machine}\n\n${HOW_TO_READ}`)
  await run(options, directory, (part, { text }, seconds) =>
    console.log(`\n\n${part} (${seconds.toFixed(0)} s)\n\n${text}`),
  )
}

async function main(): Promise<void> {
  let options: Options
  try {
    const known = PARTS.map(({ name }) => name)
    options = parseOptions(process.argv.slice(2), known)
  } catch (error) {
    process.stderr.write(`bench: ${describeError(error)}\n${USAGE}`)
    process.exitCode = 2
    return
  }
  if (options.list) {
    for (const { name, about } of PARTS) console.log(`${name.padEnd(12)} ${about}`)
    return
  }
  try {
    await measure(options)
  } catch (error) {
    process.stderr.write(`bench: ${describeError(error)}\n`)
    process.exitCode = 1
  }
}

await main()
