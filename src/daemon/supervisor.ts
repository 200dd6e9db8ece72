/** Sees to it that a parent has its host: starts one where there is none, and waits longer each time that goes wrong. */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { hostLock, hostLog } from '../host/paths.ts'
import { BackOff, type BackOffOptions } from '../lib/back-off.ts'
import { describeError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import { isLocked, lockHolder } from '../os/file-lock.ts'
import { type LaunchConfig, launchOf } from './host-launch.ts'
import type { Hosts } from './hosts.ts'

const PROGRAM = fileURLToPath(new URL('../../../bin/mdevkit.js', import.meta.url))

const BACK_OFF = { firstMs: 500, longestMs: 60_000 }
/** A host that was there for so long is no failure when it ends. */
const STABLE_MS = 30_000
/** How long a host may take until it can be managed: its driver may open something first. */
const START_MS = 30_000

export interface SupervisorOptions {
  /** The parent's name. */
  readonly parent: string
  /** A shipped driver's name, a module's path, or a package's name. */
  readonly driver: string
  /** Of the parent itself. */
  readonly settings?: AttributeTexts
  /** Where the host runs, and where its package is looked for; ours unless given. */
  readonly directory?: string
  /** Limits and privileges of the host. */
  readonly launch?: LaunchConfig
  /** The run-time root. */
  readonly root: string
  /** Where hosts turn up. */
  readonly hosts: Hosts
  readonly log: Logger
  readonly backOff?: BackOffOptions
  readonly startMs?: number
}

/**
 * - `stopped`: nobody wants it. - `starting`: a process was made, and cannot be managed yet; `before` says how it went the last
 *   time, where that was wrong. - `up`: it can.
 * - `waiting`: it could not be started, or has ended; `why` says so, and it is tried again soon.
 */
export type Supervised =
  | { readonly state: 'stopped' }
  | { readonly state: 'starting'; readonly before: string }
  | { readonly state: 'up'; readonly pid: number }
  | { readonly state: 'waiting'; readonly why: string; readonly waitMs: number }

/** - `changed`: it stands otherwise. */
interface SupervisorEvents {
  changed: [now: Supervised]
}

export class Supervisor extends EventEmitter<SupervisorEvents> {
  #options: SupervisorOptions
  readonly #backOff: BackOff
  #now: Supervised = { state: 'stopped' }
  #child: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #warnings: readonly string[] = []
  #upSince = 0

  constructor(options: SupervisorOptions) {
    super()
    this.#options = options
    this.#backOff = new BackOff(options.backOff ?? BACK_OFF)
  }

  /** As configured. */
  get driver(): string {
    return this.#options.driver
  }

  /** What of its limits and privileges could not be had when its host was started. */
  get warnings(): readonly string[] {
    return this.#warnings
  }

  /** How it stands. */
  get now(): Supervised {
    return this.#now
  }

  /**
   * Has its next host started so; one that is there, or is starting, stays as it is. Where the last one could not be started, the next
   * is tried at once.
   */
  change(wanted: Pick<SupervisorOptions, 'driver' | 'settings' | 'directory' | 'launch'>): void {
    const { settings: _settings, directory: _directory, launch: _launch, ...rest } = this.#options
    this.#options = { ...rest, ...wanted }
    if (this.#now.state !== 'waiting') return
    this.stop()
    this.start()
  }

  /** From now on the parent is to have a host; one that is there already is taken as it is. Idempotent. */
  start(): void {
    if (this.#now.state !== 'stopped') return
    const { hosts } = this.#options
    hosts.on('up', this.#onUp)
    hosts.on('down', this.#onDown)
    if (hosts.find(this.#options.parent) === undefined) this.#begin()
    else this.#onUp()
  }

  /** Lets it be: a host that is there lives on, and no other is started. Idempotent. */
  stop(): void {
    const { hosts } = this.#options
    hosts.off('up', this.#onUp)
    hosts.off('down', this.#onDown)
    clearTimeout(this.#timer)
    this.#forgetChild()
    this.#backOff.succeeded() // if it is started again, that is anew
    this.#become({ state: 'stopped' })
  }

  /** Resolves when it is not starting, or no longer. */
  async settled(): Promise<void> {
    while (this.#now.state === 'starting') await once(this, 'changed')
  }

  /** As {@link stop}, and ends a host that is starting, which bears nothing yet; resolves when that has gone. */
  async kill(): Promise<void> {
    const child = this.#child
    const isStarting = this.#now.state === 'starting'
    this.stop()
    if (!isStarting || child === undefined || hasEnded(child)) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  readonly #onUp = (): void => {
    const { parent, hosts, log } = this.#options
    const host = hosts.find(parent)
    if (host === undefined || this.#now.state === 'up') return
    clearTimeout(this.#timer)
    this.#upSince = performance.now()
    this.#become({ state: 'up', pid: host.pid })
    log.info(`parent ${parent}: its host is pid ${host.pid}`)
  }

  readonly #onDown = (parent: string): void => {
    if (parent !== this.#options.parent || this.#now.state !== 'up') return
    if (performance.now() - this.#upSince >= STABLE_MS) this.#backOff.succeeded()
    this.#failed('its host has gone')
  }

  /** Starts a host, unless one is there that cannot be managed yet: one that an earlier daemon has started. */
  #begin(): void {
    try {
      const orphan = this.#holder()
      if (orphan === undefined) this.#spawn()
      else this.#waitFor(orphan)
    } catch (error) {
      this.#failed(describeError(error))
    }
  }

  #spawn(): void {
    const { parent, driver, settings = [], directory, root, startMs = START_MS } = this.#options
    const set = settings.map(([name, text]) => `--set=${name}=${text}`)
    const host = [process.execPath, PROGRAM, 'host', driver, '--name', parent, '--exact', ...set]
    const [program = '', ...args] = this.#launch(host)
    const before = this.#now.state === 'waiting' ? this.#now.why : ''
    this.#become({ state: 'starting', before })
    const log = openLog(hostLog(root, parent))
    try {
      const child = spawn(program, args, {
        // A session of its own, and no pipe to us: our end, and Ctrl-C, must not reach the devices of guests.
        detached: true,
        ...(directory === undefined ? {} : { cwd: directory }),
        env: { ...process.env, MDEVKIT_ROOT: root },
        stdio: ['ignore', 'ignore', log],
      })
      child.once('error', (error) => this.#failed(error.message))
      child.once('exit', (code, signal) => {
        if (this.#now.state === 'starting') this.#failed(this.#lastWords(signal ?? code))
      })
      child.unref()
      this.#child = child
    } finally {
      closeSync(log)
    }
    this.#timer = setTimeout(() => {
      this.#child?.kill('SIGKILL')
      this.#failed(`its host has not come up in ${startMs / 1000} s`)
    }, startMs).unref()
  }

  /** @returns the command that starts it within its limits @throws EINVAL */
  #launch(host: readonly string[]): readonly string[] {
    const { parent, launch, log } = this.#options
    const { command, warnings } = launchOf(parent, host, launch ?? {})
    for (const warning of warnings)
      if (!this.#warnings.includes(warning)) log.warn(`parent ${parent}: ${warning}`)
    this.#warnings = warnings
    return command
  }

  /** Who has the parent's name. */
  #holder(): number | undefined {
    const lock = hostLock(this.#options.root, this.#options.parent)
    return isLocked(lock) ? lockHolder(lock) : undefined
  }

  /** Whether it has ended is seen the next time. It is never ended by us: it may have guests. */
  #waitFor(pid: number): void {
    this.#failed(`the host with pid ${pid} has that name, and cannot be managed`)
  }

  #failed(why: string): void {
    const { parent, log } = this.#options
    clearTimeout(this.#timer)
    this.#forgetChild()
    const waitMs = this.#backOff.failed()
    this.#become({ state: 'waiting', why, waitMs })
    log.warn(`parent ${parent}: ${why}; tried again in ${(waitMs / 1000).toFixed(1)} s`)
    this.#timer = setTimeout(() => this.#begin(), waitMs).unref()
  }

  /** Why a host ended that never came up: what it said last. */
  #lastWords(how: string | number | null): string {
    const { root, parent } = this.#options
    const said = lastLine(hostLog(root, parent))
    return said === '' ? `its host ended with ${how}` : said
  }

  #become(now: Supervised): void {
    this.#now = now
    this.emit('changed', now)
  }

  #forgetChild(): void {
    this.#child?.removeAllListeners().on('error', () => {}) // whatever becomes of it is told no more
    this.#child = undefined
  }
}

/** Or was never there. */
function hasEnded({ pid, exitCode, signalCode }: ChildProcess): boolean {
  return pid === undefined || exitCode !== null || signalCode !== null
}

/** Begun anew, and appended to: whoever empties it does not leave a hole. */
function openLog(path: string): number {
  closeSync(openSync(path, 'w', 0o600))
  return openSync(path, 'a', 0o600)
}

/** Most bytes of a last line. */
const MAX_LINE = 4096

/** What a file ends with; nothing where it cannot be read. */
function lastLine(path: string): string {
  try {
    const fd = openSync(path, 'r')
    try {
      const end = Buffer.alloc(MAX_LINE)
      const start = Math.max(0, fstatSync(fd).size - MAX_LINE)
      const text = end.toString('utf8', 0, readSync(fd, end, 0, MAX_LINE, start))
      return text.trim().split('\n').at(-1) ?? ''
    } finally {
      closeSync(fd)
    }
  } catch {
    return ''
  }
}
