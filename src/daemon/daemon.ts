/** The daemon: finds hosts, keeps definitions, starts what is to run, and serves the API for all of it. One for each root. */
import { chmodSync, chownSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { removeLeftDevices } from '../host/left-devices.ts'
import { prepareRoot, shareRoot } from '../host/paths.ts'
import { apiSocket } from '../http/client.ts'
import { ApiServer } from '../http/server.ts'
import { accessByToken } from '../http/access.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { closeFd } from '../os/fd.ts'
import { type FileLock, lockHolder, tryLockFile } from '../os/file-lock.ts'
import { listenUnix } from '../os/unix-socket.ts'
import { userName } from '../os/user-name.ts'
import { Autostart } from './autostart.ts'
import { CalloutPlane } from './callout-plane.ts'
import { calloutDirectories, Callouts } from './callouts.ts'
import type { DaemonConfig } from './config.ts'
import { DaemonPlane } from './daemon-plane.ts'
import { DefinitionStore } from './definition-store.ts'
import { DefinitionWatcher } from './definition-watcher.ts'
import { foundHosts } from './found-hosts.ts'
import { identity } from './host-launch.ts'
import { HostLogs } from './host-logs.ts'
import { Hosts } from './hosts.ts'
import { Machine } from './machine.ts'
import { MachineEvents } from './machine-events.ts'
import { accessByPeer } from './peer-access.ts'
import { Quotas } from './quotas.ts'
import { Registrations } from './registrations.ts'
import { SysfsMount } from './sysfs-mount.ts'

/** How long hosts that listen may take to be found: longer than they have to answer. */
const FIND_MS = 6000

export interface DaemonOptions {
  /** The run-time root. */
  readonly root: string
  readonly config: DaemonConfig
  readonly log: Logger
  /** Of mdevkit. */
  readonly version: string
  /** UNIX sockets that listen already, instead of the API's own; owned by the daemon from now on. */
  readonly listenFds?: readonly number[]
  /**
   * Whether to mount the tree, too. Only for a process that does nothing else: one that looks at a mount of its own waits for
   * itself.
   */
  readonly sysfs?: boolean
}

/** Where definitions are unless configured. */
export function definitionsDirectory(root: string): string {
  return join(root, 'etc', 'mdevctl.d')
}

export class Daemon {
  readonly #options: DaemonOptions
  readonly #lock: FileLock
  readonly #hosts: Hosts
  readonly #hostLogs: HostLogs
  readonly #definitions: DefinitionWatcher
  readonly #autostart: Autostart
  readonly #registrations: Registrations
  readonly #quotas: Quotas
  readonly #plane: DaemonPlane
  readonly #events: MachineEvents
  readonly #machine: Machine
  readonly #definitionsPath: string
  #api: ApiServer | undefined
  #sysfs: SysfsMount | undefined
  #tcpPort: number | undefined

  private constructor(options: DaemonOptions) {
    const { root, config, log } = options
    using undo = new Unwind()
    prepareRoot(root)
    shareWithHosts(root, config)
    this.#options = options
    this.#lock = lockRoot(root)
    undo.defer(() => this.#lock.release())
    const directory = config.definitions ?? definitionsDirectory(root)
    this.#definitionsPath = directory
    const store = new DefinitionStore(directory)
    this.#definitions = new DefinitionWatcher({ store, directory, log })
    undo.defer(() => this.#definitions.close())
    const hosts = new Hosts(root, log)
    undo.defer(() => hosts.close())
    this.#hosts = hosts
    // before anybody starts again what was there
    hosts.on('down', () => removeLeftDevices(root, log))
    removeLeftDevices(root, log)
    this.#hostLogs = new HostLogs({ root, log })
    undo.defer(() => this.#hostLogs.close())
    const registrations = new Registrations({ root, hosts, log, parents: config.parents })
    this.#registrations = registrations
    const whyNoHost = (parent: string) => registrations.whyNoHost(parent)
    this.#quotas = new Quotas(config.quotas)
    const machine = new Machine(hosts, store, this.#quotas, whyNoHost)
    this.#machine = machine
    machine.on('defined', (mdev) => this.#definitions.noteDefined(mdev))
    machine.on('undefined', (key) => this.#definitions.noteUndefined(key))
    this.#events = new MachineEvents({ hosts, definitions: this.#definitions, log })
    machine.on('uevent', (of, uevent) => this.#events.noteUevent(of, uevent))
    const user = userName(ourUid())
    const owner = { user, tool: user }
    const scripted = new CalloutPlane(machine, calloutsOf(config, log))
    this.#autostart = new Autostart({ machine: scripted, hosts, log, owner })
    const autostart = this.#autostart
    const parts = { machine: scripted, bare: machine, hosts, autostart, registrations, owner }
    this.#plane = new DaemonPlane(parts)
    undo.keep()
  }

  /**
   * Starts: when this resolves, the API answers, and hosts that were there before are known.
   *
   * @throws EBUSY a daemon has that root already · what is wrong with the root, the definitions' directory or a port
   */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const daemon = new Daemon(options)
    try {
      await daemon.#findHosts()
      await daemon.#mount()
      daemon.#registrations.start()
      await daemon.#serve()
      return daemon
    } catch (error) {
      await daemon.close()
      throw error
    }
  }

  /**
   * Takes over what of another configuration can be changed while it runs: parents, owners and quotas. What cannot is named in the
   * log. Where it throws, nothing has changed.
   *
   * @throws EINVAL a user or group of a host that cannot be
   */
  reload(config: DaemonConfig): void {
    const { root, config: first, log } = this.#options
    mustShareAsBefore(first, config)
    shareWithHosts(root, config)
    for (const key of ['definitions', 'sysfs', 'scripts', 'api'] as const)
      if (!isDeepStrictEqual(first[key], config[key]))
        log.warn(`configuration: ${key} has changed, for when the daemon is next started`)
    this.#quotas.change(config.quotas)
    this.#registrations.change(config.parents)
    log.info('configuration: read again')
  }

  /** Where the API listens besides its UNIX socket. */
  get tcpPort(): number | undefined {
    return this.#tcpPort
  }

  /** Serves no more. Hosts live on, and are found by the next one. */
  async close(): Promise<void> {
    this.#registrations.close()
    this.#autostart.close()
    await this.#api?.close()
    await this.#sysfs?.close()
    if (!this.#isActivated) rmSync(apiSocket(this.#options.root), { force: true })
    this.#sayWhoGoesOn()
    this.#hosts.close()
    this.#hostLogs.close()
    this.#definitions.close()
    this.#lock.release()
  }

  #sayWhoGoesOn(): void {
    const hosts = this.#hosts.all.map(({ parent, pid }) => `${parent.name} (pid ${pid})`)
    if (hosts.length > 0)
      this.#options.log.info(`hosts go on without the daemon: ${hosts.toSorted().join(', ')}`)
  }

  /** Its socket is another's, who keeps it while we are not there. */
  get #isActivated(): boolean {
    return (this.#options.listenFds?.length ?? 0) > 0
  }

  async #findHosts(): Promise<void> {
    const { root, log } = this.#options
    const missing = await foundHosts(root, this.#hosts, FIND_MS)
    for (const parent of missing) log.warn(`host of ${parent}: listens, and does not answer`)
  }

  async #mount(): Promise<void> {
    const { root, log, sysfs = false } = this.#options
    if (!sysfs) return
    const definitions = this.#definitionsPath
    const [hosts, machine] = [this.#hosts, this.#machine]
    this.#sysfs = await SysfsMount.start({ root, hosts, machine, definitions, log })
  }

  async #serve(): Promise<void> {
    const { root, config, log, version, listenFds = [] } = this.#options
    const api = await ApiServer.create({ plane: this.#plane, events: this.#events, log, version })
    this.#api = api
    const { admin, read, tcp } = config.api
    const rule = accessByPeer({ admin: [0, ourUid(), ...admin], read })
    if (this.#isActivated) for (const fd of listenFds) await api.listen({ fd }, rule)
    else await api.listen({ fd: listenForApi(root, config) }, rule)
    if (tcp === undefined) return
    const { host, port, tokens } = tcp
    this.#tcpPort = await api.listen({ host, port }, accessByToken(tokens))
    log.info(`API: on ${host} port ${this.#tcpPort} too, with a token, and not encrypted`)
  }
}

function calloutsOf({ scripts = calloutDirectories() }: DaemonConfig, log: Logger): Callouts {
  const told = log.child('script')
  return new Callouts({
    directories: scripts,
    onForced: (text) => told.warn(text),
    onLine: (script, line) => told.warn(`${script}: ${line}`),
  })
}

/** A parent for each group that hosts run with, as other users. @throws EINVAL one cannot be */
function groupsOf({ parents }: DaemonConfig): ReadonlyMap<number, string> {
  const groups = new Map<number, string>()
  for (const [parent, { launch = {} }] of parents) {
    const gid = identity(launch.user, launch.group)?.gid
    if (gid !== undefined) groups.set(gid, parent)
  }
  return groups
}

/** Hosts that are there would lose their directories. @throws EINVAL */
function mustShareAsBefore(before: DaemonConfig, after: DaemonConfig): void {
  const [gid] = groupsOf(before).keys()
  for (const [other, parent] of groupsOf(after))
    if (gid !== undefined && other !== gid)
      throw new ErrnoError(
        'EINVAL',
        `parent ${parent}: group ${other}: hosts share group ${gid} until the daemon is started anew`,
      )
}

/** Hosts that run as other users need to make their files in it. @throws EINVAL they are of several groups */
function shareWithHosts(root: string, config: DaemonConfig): void {
  const [first, second] = groupsOf(config)
  if (first === undefined || ourUid() !== 0) return
  if (second !== undefined) {
    const which = `parents ${first[1]} and ${second[1]}`
    throw new ErrnoError('EINVAL', `${which}: hosts with a user share one group, for their sockets`)
  }
  shareRoot(root, first[0])
}

/** @throws EBUSY */
function lockRoot(root: string): FileLock {
  const path = join(root, 'daemon.lock')
  const lock = tryLockFile(path)
  if (lock !== undefined) return lock
  throw new ErrnoError(
    'EBUSY',
    `root ${root}: the daemon with pid ${lockHolder(path) ?? '?'} has it`,
  )
}

const FOR_OTHERS = 0o077
const PASSABLE = 0o011

/** @returns the listening fd @throws what keeps us from listening there */
function listenForApi(root: string, { api: { mode, group } }: DaemonConfig): number {
  const path = apiSocket(root)
  rmSync(path, { force: true }) // left by one that was killed: we have its lock
  using undo = new Unwind()
  const fd = listenUnix(path, mode)
  undo.defer(() => closeFd(fd))
  if (group !== undefined) chownSync(path, ourUid(), group)
  // Whom the socket lets in must reach it; what else is in the root has modes of its own.
  if ((mode & FOR_OTHERS) !== 0) chmodSync(root, statSync(root).mode | PASSABLE)
  undo.keep()
  return fd
}

function ourUid(): number {
  return process.geteuid?.() ?? 0
}
