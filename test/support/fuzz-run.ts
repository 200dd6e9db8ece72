/** A fuzz run: hostile clients on some devices of one host, a polite one on another, and what the host holds before and after. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { allOf } from '../../src/lib/all-of.ts'
import { bytes as formatBytes } from '../../src/lib/format.ts'
import { DEVICE_KINDS, type DeviceKind } from './fuzz-device.ts'
import type { HostReport } from './fuzz-host.ts'
import { FuzzedHost } from './fuzz-host-process.ts'
import { PoliteClient } from './fuzz-polite.ts'
import { BURST_SIZE, runSession } from './fuzz-session.ts'
import { MessageWriter } from './fuzz-writer.ts'

export interface FuzzOptions {
  readonly seed: number
  /** Ends when so many have been sent, or when so much time has passed. */
  readonly messages: number
  readonly seconds: number
  /** Hostile clients at a time, each on a device of its own. */
  readonly connections: number
  /** Of all devices; one of each in turn unless given. */
  readonly device?: DeviceKind
  /** Runs this one alone. */
  readonly session?: number
  /** Where to write what led to a failure. */
  readonly keep?: string
  readonly onProgress?: (progress: Progress) => void
}

export interface Progress {
  readonly messages: number
  readonly sessions: number
  readonly seconds: number
  readonly visits: number
  readonly longestVisitMs: number
  readonly host: HostReport
}

export interface FuzzOutcome extends Progress {
  /** What the host held when it had warmed up. */
  readonly warm: HostReport
}

/** Something that must not be, in which session, and how to see it again. */
export class FuzzFailure extends Error {}

/** Sessions after which the host has seen everything once: only then its memory is compared. */
const WARM_UP = 100
/** What the host may have more at the end than when it was warm, bytes: V8 does as it likes with that much. */
const HEAP_SLACK = 4 * 2 ** 20
const RSS_SLACK = 96 * 2 ** 20
const MAPPINGS_SLACK = 150
const PROGRESS_MS = 1000
/** How often, and how far apart, the host is asked whether it has let go of everything. */
const LOOKS = 100
const LOOK_MS = 100
/** Pieces that each lane remembers, and the bytes shown of each. */
const REMEMBERED = 60
const SHOWN = 2048

/** One after the other on one device: the sessions whose number is `index` modulo the number of lanes. */
interface Lane {
  readonly path: string
  readonly writer: MessageWriter
  readonly sent: string[]
  next: number
}

/** @throws FuzzFailure */
export async function fuzz(options: FuzzOptions): Promise<FuzzOutcome> {
  const { connections, device } = options
  const kinds = Array.from(
    { length: connections },
    (_, i) => device ?? DEVICE_KINDS[i % DEVICE_KINDS.length] ?? 'full',
  )
  await using host = await FuzzedHost.start([...kinds, 'full'])
  return await new Run(options, host).run() // awaited: the host goes with this scope
}

class Run {
  readonly #options: FuzzOptions
  readonly #host: FuzzedHost
  readonly #lanes: readonly Lane[]
  readonly #polite: PoliteClient
  readonly #began = performance.now()
  #messages = 0
  #sessions = 0
  #stopping = false
  #failed: Promise<FuzzFailure> | undefined

  constructor(options: FuzzOptions, host: FuzzedHost) {
    this.#options = options
    this.#host = host
    this.#lanes = host.sockets.slice(0, -1).map((path, i) => ({
      path,
      writer: new MessageWriter(BURST_SIZE),
      sent: [],
      next: i,
    }))
    this.#polite = new PoliteClient(host.sockets.at(-1) ?? '')
  }

  async run(): Promise<FuzzOutcome> {
    const { session } = this.#options
    await this.#politely(() => this.#polite.attachment(1))
    const cold = await this.#host.report('collected')
    if (session === undefined) await this.#phase(() => this.#sessions < WARM_UP)
    else await this.#one(session)
    const warm = await this.#letGo(cold)
    if (session === undefined) await this.#phase(() => true)
    const end = await this.#letGo(cold)
    this.#compare(warm, end)
    return { ...this.#progress(end), warm }
  }

  /** Runs lanes and the polite client, while there is more to do and `goesOn`. */
  async #phase(goesOn: () => boolean): Promise<void> {
    this.#stopping = false
    const ticker = this.#startTicker()
    try {
      const lanes = allOf(this.#lanes.map((lane) => this.#runLane(lane, goesOn)))
      const polite = this.#politely(() => this.#polite.run())
      await allOf([lanes.finally(() => this.#polite.stop()), polite])
    } finally {
      clearInterval(ticker)
    }
  }

  async #one(number: number): Promise<void> {
    const lane = this.#lanes[number % this.#lanes.length]
    if (lane !== undefined) await this.#runSession(lane, number)
  }

  async #runLane(lane: Lane, goesOn: () => boolean): Promise<void> {
    while (!this.#stopping && !this.#isEnough && goesOn()) {
      await this.#runSession(lane, lane.next)
      lane.next += this.#lanes.length
    }
  }

  get #isEnough(): boolean {
    return this.#messages >= this.#options.messages || this.#seconds >= this.#options.seconds
  }

  get #seconds(): number {
    return (performance.now() - this.#began) / 1000
  }

  /** @throws FuzzFailure */
  async #runSession(lane: Lane, number: number): Promise<void> {
    const { path, writer, sent } = lane
    sent.push(`session ${number}`)
    try {
      await runSession({
        path,
        writer,
        seed: this.#options.seed,
        number,
        onSend: (bytes, messages, fds) => {
          this.#messages += messages
          const hex = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(SHOWN, bytes.length))
          const shown = `${bytes.length} bytes, fds [${fds.join(', ')}]: ${hex.toString('hex')}`
          if (sent.push(shown) > 2 * REMEMBERED) sent.splice(0, REMEMBERED)
        },
      })
      this.#sessions++
      if (this.#host.fault !== undefined) throw new Error(this.#host.fault)
    } catch (error) {
      this.#stopping = true
      throw await this.#failure(`session ${number}`, error, lane)
    }
  }

  async #politely(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#stopping = true
      throw await this.#failure('the polite client', error)
    }
  }

  /** Waits until the host holds no more of what clients gave than when it was `cold`. @throws FuzzFailure */
  async #letGo(cold: HostReport): Promise<HostReport> {
    let left = ''
    for (let i = 0; i < LOOKS; i++) {
      const now = await this.#host.report('collected')
      left = leftovers(cold, now)
      if (left === '') return now
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
    throw await this.#failure('the end', new Error(`the host keeps ${left}`))
  }

  /** @throws FuzzFailure */
  #compare(warm: HostReport, end: HostReport): void {
    const grown = [
      ['heap', warm.heap, end.heap, HEAP_SLACK],
      ['resident memory', warm.rss, end.rss, RSS_SLACK],
    ] as const
    for (const [what, before, after, slack] of grown) {
      if (after > before + slack)
        throw new FuzzFailure(
          `${what} grew from ${formatBytes(before)} to ${formatBytes(after)}${this.#hint()}`,
        )
    }
    if (end.mappings > warm.mappings + MAPPINGS_SLACK)
      throw new FuzzFailure(`${warm.mappings} mappings became ${end.mappings}${this.#hint()}`)
  }

  #hint(session?: number): string {
    const { seed, connections, device } = this.#options
    const only = session === undefined ? '' : ` --session ${session}`
    const kind = device === undefined ? '' : ` --device ${device}`
    return `\nto see it again: npm run fuzz -- --seed ${seed} --connections ${connections}${kind}${only}`
  }

  /** The first failure of the run: what fails after it mostly fails because of it. */
  async #failure(where: string, error: unknown, lane?: Lane): Promise<FuzzFailure> {
    this.#failed ??= this.#describe(where, error, lane)
    return this.#failed
  }

  async #describe(where: string, error: unknown, lane?: Lane): Promise<FuzzFailure> {
    await this.#host.endOrNot(500) // a host that is about to go takes its clients along: that is the failure then
    const why = this.#host.fault ?? (error instanceof Error ? error.message : String(error))
    const number = /^session (\d+)$/.exec(where)?.[1]
    const hint = this.#hint(number === undefined ? undefined : Number(number))
    const kept = await this.#keep(`${where}: ${why}${hint}`, lane)
    return new FuzzFailure(`${where}: ${why}${kept}${hint}`, { cause: error })
  }

  /** Writes down what led to a failure. @returns where, for the message */
  async #keep(what: string, lane: Lane | undefined): Promise<string> {
    const { keep, seed } = this.#options
    if (keep === undefined) return ''
    if (this.#host.fault === undefined) await this.#host.report('now').catch(() => {})
    mkdirSync(keep, { recursive: true })
    const path = join(keep, `fuzz-${seed}.txt`)
    const log = this.#host.lastReport?.log ?? []
    writeFileSync(path, [what, '', ...(lane?.sent ?? []), '', ...log, ''].join('\n'))
    return `\nwhat was sent is in ${path}`
  }

  #startTicker(): NodeJS.Timeout | undefined {
    const { onProgress } = this.#options
    if (onProgress === undefined) return undefined
    return setInterval(() => {
      void this.#host.report('now').then(
        (host) => onProgress(this.#progress(host)),
        () => {}, // it has ended, which the lanes notice
      )
    }, PROGRESS_MS)
  }

  #progress(host: HostReport): Progress {
    return {
      messages: this.#messages,
      sessions: this.#sessions,
      seconds: this.#seconds,
      visits: this.#polite.visits,
      longestVisitMs: this.#polite.longestMs,
      host,
    }
  }
}

/** What `now` has and `cold` had not, in words; empty when there is nothing. */
function leftovers(cold: HostReport, now: HostReport): string {
  const parts = []
  if (now.attached > 0) parts.push(`${now.attached} clients`)
  const fds = difference(now.fds, cold.fds)
  if (fds.length > 0) parts.push(`fds: ${counted(fds)}`)
  const shared = difference(now.shared, cold.shared)
  if (shared.length > 0) parts.push(`mappings of ${counted(shared)}`)
  if (now.windows > cold.windows) parts.push(`${now.windows - cold.windows} windows of memory`)
  return parts.join('; ')
}

/** `2 of a, 1 of b`. */
function counted(list: readonly string[]): string {
  return [...new Set(list)]
    .map((each) => `${list.filter((other) => other === each).length} of ${each}`)
    .join(', ')
}

/** What is in `list` more often than in `other`. */
function difference(list: readonly string[], other: readonly string[]): string[] {
  const rest = [...other]
  return list.filter((each) => {
    const at = rest.indexOf(each)
    if (at >= 0) rest.splice(at, 1)
    return at < 0
  })
}
