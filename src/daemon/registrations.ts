/** The parents of the configuration: each has its host, unless an administrator has unregistered it. */
import { isDeepStrictEqual } from 'node:util'
import type { ControlClient } from '../host/control-client.ts'
import { isParentName } from '../host/file-claims.ts'
import { hostLock, hostSocket } from '../host/paths.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { ParentView, UnregisterOptions } from '../mdev/control-plane.ts'
import { describeHolders } from '../mdev/holders.ts'
import { isLocked, lockHolder } from '../os/file-lock.ts'
import { isAnswered } from '../os/unix-socket.ts'
import type { ParentConfig } from './config.ts'
import { HostEnds } from './host-end.ts'
import type { Hosts } from './hosts.ts'
import { Supervisor } from './supervisor.ts'
import { Unregistered } from './unregistered.ts'

export interface RegistrationsOptions {
  /** The run-time root. */
  readonly root: string
  readonly hosts: Hosts
  readonly log: Logger
  /** As configured, by name. */
  readonly parents: ReadonlyMap<string, ParentConfig>
}

export class Registrations {
  readonly #options: RegistrationsOptions
  readonly #unregistered: Unregistered
  readonly #ends: HostEnds
  readonly #supervisors = new Map<string, Supervisor>()
  /** How many are unregistering a parent. */
  readonly #pending = new Map<string, number>()
  /** As they are configured now. */
  #parents: ReadonlyMap<string, ParentConfig>
  #closed = false

  constructor(options: RegistrationsOptions) {
    this.#options = options
    this.#parents = options.parents
    this.#unregistered = new Unregistered(options.root)
    this.#ends = new HostEnds(options)
    for (const [parent, wanted] of options.parents) this.#add(parent, wanted)
  }

  #add(parent: string, wanted: ParentConfig): Supervisor {
    const { root, hosts, log } = this.#options
    const supervisor = new Supervisor({ parent, ...wanted, root, hosts, log })
    this.#supervisors.set(parent, supervisor)
    return supervisor
  }

  /** Has hosts started where there are none. Those that were there before are known by now. */
  start(): void {
    const { hosts, log } = this.#options
    for (const [parent, supervisor] of this.#supervisors) {
      // It is there: the daemon that was to unregister it has ended before it could.
      if (hosts.find(parent)?.parent.state === 'registered') this.#unregistered.delete(parent)
      if (!this.#unregistered.has(parent)) supervisor.start()
      else log.info(`parent ${parent}: ${hintOf(parent)}`)
    }
  }

  /**
   * Changes which parents are configured, and how. New ones get a host; of those that are no more the hosts live on, and of others they
   * stay as they are until they are started again: no client loses its mdev by it.
   */
  change(parents: ReadonlyMap<string, ParentConfig>): void {
    const { hosts, log } = this.#options
    const before = this.#parents
    this.#parents = parents
    for (const [parent, supervisor] of this.#supervisors) {
      if (parents.has(parent)) continue
      supervisor.stop()
      this.#supervisors.delete(parent)
      const pid = hosts.find(parent)?.pid
      const left =
        pid === undefined
          ? ''
          : `; its host, pid ${pid}, goes on, and mdevkit unregister ${parent} ends it`
      log.warn(`parent ${parent}: not in the configuration any more${left}`)
    }
    for (const [parent, wanted] of parents) {
      const supervisor = this.#supervisors.get(parent)
      if (supervisor === undefined) {
        log.info(`parent ${parent}: new in the configuration`)
        const added = this.#add(parent, wanted)
        if (!this.#unregistered.has(parent)) added.start()
      } else if (!isDeepStrictEqual(before.get(parent), wanted)) {
        supervisor.change(wanted)
        log.info(
          `parent ${parent}: its configuration has changed, for when its host is next started`,
        )
      }
    }
  }

  /** Lets hosts be: they live on. */
  close(): void {
    this.#closed = true
    this.#ends.close()
    for (const supervisor of this.#supervisors.values()) supervisor.stop()
  }

  /** Parents whose hosts are there, and those whose hosts should be, by name. */
  parents(): readonly ParentView[] {
    const { hosts } = this.#options
    const present = hosts.all.map(({ parent, pid }) => withHolders({ ...parent, pid }))
    const missing = [...this.#supervisors]
      .filter(([name]) => hosts.find(name) === undefined)
      .map(([name, { driver }]) => this.#without(name, driver))
    return [...present, ...missing]
      .map((parent) => warned(parent, this.#supervisors.get(parent.name)?.warnings ?? []))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** What is known of a parent whose host is not there. */
  #without(name: string, driver: string): ParentView {
    const waits = this.whyNoHost(name) ?? ''
    const isAway = this.#unregistered.has(name)
    return { ...NOTHING, name, driver, waits, ...(isAway ? { unregistered: true } : {}) }
  }

  /** Why a parent of the configuration has no host; undefined of others. */
  whyNoHost(parent: string): string | undefined {
    const now = this.#supervisors.get(parent)?.now
    switch (now?.state) {
      case undefined:
        return undefined
      case 'waiting':
        return now.why
      case 'starting':
        return now.before === ''
          ? 'its host is starting'
          : `${now.before}; its host is starting again`
      default:
        return this.#unregistered.has(parent) ? hintOf(parent) : 'no host runs it'
    }
  }

  /**
   * Ends the host of a parent. One of the configuration gets no other until it is registered again.
   *
   * @throws ENOENT no such parent · ENODEV it is unregistered already · EBUSY clients use mdevs on it, or what runs it is no host of
   *         the daemon · EAGAIN its host is starting, or does not answer · what keeps us from remembering it
   */
  async unregister(
    parent: string,
    { force = false, wait = false }: UnregisterOptions = {},
  ): Promise<void> {
    const supervisor = this.#supervisors.get(parent)
    if (supervisor === undefined) {
      const runner = this.#runner(parent, force)
      if (runner === undefined) throw new ErrnoError('ENOENT', `parent ${parent}: no host runs it`)
      await this.#end(parent, runner, { force, wait })
      return
    }
    if (supervisor.now.state === 'starting') {
      if (!force && !wait) throw notYet(parent, 'its host is starting')
      if (wait && !force) await supervisor.settled()
    }
    const isStarting = supervisor.now.state === 'starting'
    const runner = isStarting ? undefined : this.#runner(parent, force)
    if (this.#unregistered.has(parent) && !isStarting && runner === undefined)
      throw new ErrnoError('ENODEV', `parent ${parent}: ${hintOf(parent)}`)
    this.#unregistered.add(parent)
    this.#pending.set(parent, (this.#pending.get(parent) ?? 0) + 1)
    try {
      if (isStarting) await supervisor.kill()
      else supervisor.stop()
      if (runner !== undefined) await this.#end(parent, runner, { force, wait })
      this.#options.log.info(`parent ${parent}: ${hintOf(parent)}`)
    } finally {
      this.#leave(parent, supervisor)
    }
  }

  /** What was refused leaves the parent as it was, unless another is unregistering it. */
  #leave(parent: string, supervisor: Supervisor): void {
    const others = (this.#pending.get(parent) ?? 1) - 1
    if (others > 0) {
      this.#pending.set(parent, others)
      return
    }
    this.#pending.delete(parent)
    if (this.#closed || this.#options.hosts.find(parent)?.parent.state !== 'registered') return
    this.#unregistered.delete(parent)
    if (this.#supervisors.get(parent) === supervisor) supervisor.start()
  }

  /**
   * Starts the host of a configured parent again; resolves when it is there, or could not be started, which is tried again.
   *
   * @throws ENOENT none is configured by that name · EEXIST its host is there · EBUSY it is being unregistered
   */
  async register(parent: string): Promise<void> {
    const { hosts } = this.#options
    const supervisor = this.#supervisors.get(parent)
    const host = hosts.find(parent)
    const isGoing = host !== undefined && host.parent.state !== 'registered'
    if (this.#pending.has(parent) || isGoing) {
      const holders = describeHolders(host?.parent.mdevs ?? [])
      const why = holders === '' ? '' : `: ${holders}`
      throw new ErrnoError('EBUSY', `parent ${parent}: it is being unregistered${why}`)
    }
    if (host !== undefined)
      throw new ErrnoError('EEXIST', `parent ${parent}: its host is there, pid ${host.pid}`)
    if (supervisor === undefined)
      throw new ErrnoError('ENOENT', `parent ${parent}: not in the daemon's configuration`)
    this.#unregistered.delete(parent)
    if (supervisor.now.state === 'waiting') supervisor.stop() // it is tried at once
    supervisor.start()
    await supervisor.settled()
  }

  /**
   * What runs a parent and can be ended: its host or, by force, the pid of one that hangs; undefined where nobody does.
   *
   * @throws EBUSY it is no host of the daemon · EAGAIN it cannot be managed yet, or any more
   */
  #runner(parent: string, force: boolean): ControlClient | number | undefined {
    const { root, hosts } = this.#options
    const host = hosts.find(parent)
    if (host !== undefined) return host
    if (!isParentName(parent) || !isLocked(hostLock(root, parent))) return undefined
    const pid = lockHolder(hostLock(root, parent))
    if (pid === undefined) throw notYet(parent, 'its host is starting')
    if (!isAnswered(hostSocket(root, parent)))
      throw new ErrnoError(
        'EBUSY',
        `parent ${parent}: pid ${pid} has it, which is no host that can be managed; end that`,
      )
    if (!force) throw notYet(parent, `its host, pid ${pid}, does not answer`)
    return pid
  }

  async #end(
    parent: string,
    runner: ControlClient | number,
    options: { readonly force: boolean; readonly wait: boolean },
  ): Promise<void> {
    if (typeof runner === 'number') await this.#ends.kill(parent, runner)
    else await this.#ends.end(runner, options)
  }
}

function notYet(parent: string, why: string): ErrnoError {
  return new ErrnoError('EAGAIN', `parent ${parent}: ${why}; try again, or end it by force`)
}

function hintOf(parent: string): string {
  return `unregistered; mdevkit register ${parent} brings it back`
}

/** The same, with who keeps it, where it is being unregistered. */
function withHolders(parent: ParentView): ParentView {
  const holders = parent.state === 'unregistering' ? describeHolders(parent.mdevs) : ''
  return holders === '' ? parent : { ...parent, waits: `being unregistered: ${holders}` }
}

function warned(parent: ParentView, warnings: readonly string[]): ParentView {
  return warnings.length === 0 ? parent : { ...parent, warnings }
}

const NOTHING = {
  state: 'unregistered',
  types: [],
  attributes: [],
  parentAttributes: [],
  settings: [],
  values: {},
  status: {},
  faults: [],
  mdevs: [],
} as const
