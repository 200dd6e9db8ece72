/** `npm run bench`: trapped accesses against a bare echo, and idle cost. It measures and never asserts. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeError, ErrnoError } from '../src/lib/errno.ts'
import { compile, type CPrograms } from './c-programs.ts'
import { type IdleResult, measureIdle } from './idle.ts'
import { allowedProcessors, type Placement, processorsOf } from './pinning.ts'
import {
  disturbance,
  howToRead,
  idleLine,
  machineLine,
  roundTripTable,
  type Row,
  summarise,
} from './report.ts'
import { type Access, type Cell, cellsOf, measureRoundTrips, type Sample } from './round-trips.ts'
import type { ServerSpec } from './server.ts'

const USAGE = `usage: npm run bench -- [options]
  --quick              few, short rounds: to see that it works
  --rounds N           rounds of round trips (15)
  --only WHAT          read, write or idle; repeatable
  --gap US             the client thinks this long, busy, between two accesses (0)
  --also NAME=FILE     another build's bench/host.js to measure beside this one; repeatable
  --json               print everything as JSON, each sample included
`

const ECHO = 'C echo'
const MDEVKIT = 'mdevkit'
const PARTS = ['read', 'write', 'idle'] as const

/** A reply within half of a sleeping echo's time, where the host has a processor to poll on; little overhead where not. */
const TARGETS = { split: 0.5, same: 1.5 } as const satisfies Record<Placement, number>

/** V8 collects the garbage of starting up some 8 s after that, once or twice: not part of being idle. */
const SETTLE_SECONDS = 20

interface Options {
  readonly parts: readonly (typeof PARTS)[number][]
  readonly quick: boolean
  readonly rounds: number
  readonly gapUs: number
  readonly also: readonly { readonly name: string; readonly file: string }[]
  readonly json: boolean
}

interface Results {
  readonly rows: readonly Row[]
  readonly samples: readonly Sample[]
  readonly idle: readonly IdleResult[]
}

/** @throws EINVAL an option that makes no sense */
function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string', multiple: true },
      gap: { type: 'string', default: '0' },
      also: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
    },
  })
  for (const part of values.only ?? []) {
    if (!PARTS.some((known) => known === part)) {
      throw new ErrnoError('EINVAL', `--only ${part}: read, write or idle`)
    }
  }
  return {
    parts: PARTS.filter((part) => values.only?.includes(part) ?? true),
    quick: values.quick,
    rounds: integer('--rounds', values.rounds ?? (values.quick ? '3' : '15'), 1),
    gapUs: integer('--gap', values.gap, 0),
    also: values.also.map((value) => {
      const [, name, file] = /^([^=]+)=(.+)$/.exec(value) ?? []
      if (!name || !file) throw new ErrnoError('EINVAL', `--also ${value}: should be NAME=FILE`)
      return { name, file }
    }),
    json: values.json,
  }
}

function integer(option: string, value: string, least: number): number {
  const number = Number(value)
  if (Number.isInteger(number) && number >= least) return number
  throw new ErrnoError('EINVAL', `${option} ${value}: not an integer from ${least} up`)
}

function echoServer(programs: CPrograms, name: string, ...flags: string[]): ServerSpec {
  return {
    name,
    placements: flags.length === 0 ? ['split', 'same'] : ['split'],
    keepsWrites: false,
    command: (directory) => [programs.echo, `${directory}.sock`, ...flags],
  }
}

function hostServer(name: string, file: string): ServerSpec {
  return {
    name,
    placements: ['split', 'same'],
    keepsWrites: true,
    command(directory, devices) {
      mkdirSync(directory, { mode: 0o700 })
      return [process.execPath, file, directory, String(devices)]
    },
  }
}

async function run(options: Options, directory: string): Promise<Results> {
  const programs = compile(directory)
  const allowed = allowedProcessors()
  const tell = (progress: string) => process.stderr.write(`${progress}\n`)
  const hosts = [
    hostServer(MDEVKIT, fileURLToPath(new URL('./host.js', import.meta.url))),
    ...options.also.map(({ name, file }) => hostServer(name, file)),
  ]
  const accesses = options.parts.filter((part): part is Access => part !== 'idle')
  const placements: Placement[] = allowed.length > 1 ? ['split', 'same'] : ['same']
  const samples =
    accesses.length === 0
      ? []
      : await measureRoundTrips(
          programs.client,
          [
            echoServer(programs, ECHO),
            echoServer(programs, `${ECHO}, polling`, '--spin'),
            ...hosts,
          ],
          cellsOf(accesses, placements),
          directory,
          allowed,
          {
            rounds: options.rounds,
            count: options.quick ? 2000 : 10_000,
            maxMs: options.quick ? 200 : 1000,
            rehearsal: options.quick ? 10_000 : 30_000,
            gapUs: options.gapUs,
            patienceMs: options.quick ? 500 : 2000,
          },
          tell,
        )
  const isHost = (server: string) => hosts.some((host) => host.name === server)
  const targetOf = (cell: Cell, server: string) =>
    cell.client === 'blocking' && options.gapUs === 0 && isHost(server)
      ? TARGETS[cell.placement]
      : undefined

  const idle: IdleResult[] = []
  for (const [index, host] of (options.parts.includes('idle') ? hosts : []).entries()) {
    tell(`idle: ${host.name}`)
    const settings = {
      devices: 100,
      seconds: options.quick ? 3 : 10,
      settleSeconds: SETTLE_SECONDS,
    }
    const place = join(directory, `idle-${index}`)
    idle.push(await measureIdle(programs.client, host, place, allowed, settings))
  }
  return { rows: summarise(samples, ECHO, targetOf), samples, idle }
}

function print({ rows, samples, idle }: Results, options: Options): void {
  const machine = machineLine(new Date())
  if (options.json) {
    console.log(JSON.stringify({ machine, options, rows, idle, samples }, null, 2))
    return
  }
  console.log(machine)
  if (rows.length > 0) {
    const allowed = allowedProcessors()
    const split = allowed.length > 1 ? processorsOf('split', allowed) : undefined
    const gap = options.gapUs > 0 ? `, ${options.gapUs} us between accesses` : ''
    console.log(`\nRound trips of 4 bytes, ${options.rounds} rounds${gap}\n`)
    console.log(roundTripTable(rows, ECHO))
    console.log(`\n${howToRead(ECHO, split)}\n${disturbance(samples)}`)
  }
  if (idle.length > 0) console.log(`\nIdle\n\n${idle.map((result) => idleLine(result)).join('\n')}`)
}

async function main(): Promise<void> {
  let options: Options
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`bench: ${describeError(error)}\n${USAGE}`)
    process.exitCode = 2
    return
  }
  const directory = mkdtempSync(join(tmpdir(), 'mdevkit-bench-'))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  try {
    print(await run(options, directory), options)
  } catch (error) {
    process.stderr.write(`bench: ${describeError(error)}\n`)
    process.exitCode = 1
  }
}

await main()
