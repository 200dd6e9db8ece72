/** The process around one parent: registers it, and serves each mdev created on it. */
import { ClientAccounts } from '../iommu/client-accounts.ts'
import { fixedLimit, LockAccount } from '../iommu/lock-account.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { describeError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { Driver } from '../mdev/driver.ts'
import { createEvents, type Events } from '../mdev/events.ts'
import type { MdevDevice } from '../mdev/mdev.ts'
import { Parent } from '../mdev/parent.ts'
import type { Claim } from '../mdev/claims.ts'
import { type Reactor, reactor } from '../os/reactor.ts'
import { checkSocketPath } from '../os/unix-socket.ts'
import { AccessTimes } from '../vfio-user/access-times.ts'
import { createBuffers, Server } from '../vfio-user/server.ts'
import { FileClaims } from './file-claims.ts'
import { mdevDirectory, mdevSocket, runtimeRoot } from './paths.ts'

const NIL_UUID = '00000000-0000-0000-0000-000000000000'

/** Of this process: a VM may have mdevs of several parents here. */
const clientAccounts = new ClientAccounts()

export interface HostOptions {
  readonly driver: Driver
  readonly log: Logger
  /** The run-time root; this user's unless given. */
  readonly root?: string
  /** The parent's name; the driver's unless given. Where another host has it, a number is added. */
  readonly name?: string
  /** What is wanted of the parent's settings. */
  readonly settings?: AttributeTexts
  /** The parent's name, claimed already: instead of `name`. The host's from now on. */
  readonly claim?: Claim<string>
  /** Whether to measure how long each access takes. */
  readonly measure?: boolean
  /** Most bytes of guest memory that all mdevs may keep locked; what a client's RLIMIT_MEMLOCK says goes for it besides. */
  readonly lockLimit?: number
  /** Whether guest memory that its owner can shrink is mapped too: a client that does shrink it ends this process. */
  readonly mapUnsealed?: boolean
  readonly reactor?: Reactor
  /** The machine's unless given. */
  readonly clock?: Clock
}

export class Host {
  readonly root: string
  readonly parent: Parent
  readonly events: Events
  readonly #name: Claim<string>
  readonly #servers = new Map<string, Server>()
  readonly #times = new Map<string, AccessTimes>()
  #closed: Promise<void> = Promise.resolve()

  /**
   * Where the driver opens something first, {@link register} waits for it.
   *
   * @throws what makes the run-time root unusable · as Parent's constructor
   */
  constructor(options: HostOptions) {
    const { driver, log, measure = false, lockLimit = Infinity, mapUnsealed = false } = options
    const { clock = systemClock } = options
    const root = options.root ?? runtimeRoot()
    const claims = new FileClaims(root)
    const buffers = createBuffers()
    this.root = root
    this.events = createEvents()
    this.#name = options.claim ?? claims.claimParent(options.name ?? driver.name)
    const lockAccounts = {
      clients: clientAccounts,
      parent: new LockAccount(`parent ${this.#name.value}`, fixedLimit('lock limit', lockLimit)),
    }
    using undo = new Unwind()
    undo.defer(() => this.#name.release())
    this.parent = new Parent({
      name: this.#name.value,
      driver,
      settings: options.settings ?? [],
      clock,
      claims,
      events: this.events,
      log,
      bus: {
        expose: (mdev) => {
          const accessTimes = measure ? new AccessTimes() : undefined
          const server = new Server({
            mdev,
            path: mdevSocket(mdev.directory),
            reactor: options.reactor ?? reactor(),
            buffers,
            log: mdev.log,
            lockAccounts,
            mapUnsealed,
            clock,
            ...(accessTimes === undefined ? {} : { accessTimes }),
          })
          this.#servers.set(mdev.uuid, server)
          if (accessTimes !== undefined) this.#times.set(mdev.uuid, accessTimes)
          return {
            close: () => {
              this.#servers.delete(mdev.uuid)
              this.#times.delete(mdev.uuid)
              server.close()
            },
          }
        },
      },
    })
    undo.keep()
  }

  /**
   * A host whose parent is registered.
   *
   * @throws as the constructor · what the driver's `open` is rejected with · ETIMEDOUT it takes too long
   */
  static async register(options: HostOptions): Promise<Host> {
    const host = new Host(options)
    try {
      await host.parent.registered
      return host
    } catch (error) {
      host.close()
      throw error
    }
  }

  /**
   * Creates an mdev and serves it at {@link socketOf}.
   *
   * @throws as Parent.create; ENAMETOOLONG when the root is too deep for a socket
   */
  async create(typeName: string, uuid: string, texts: AttributeTexts = []): Promise<MdevDevice> {
    checkSocketPath(mdevSocket(mdevDirectory(this.root, NIL_UUID))) // all are as long
    return this.parent.create(typeName, uuid, texts)
  }

  /** Where clients of `mdev` connect. */
  socketOf(mdev: MdevDevice): string {
    return mdevSocket(mdev.directory)
  }

  /** What has happened at an mdev's socket so far. */
  statsOf(mdev: MdevDevice): {
    readonly server: Server['stats'] | undefined
    readonly times: AccessTimes | undefined
  } {
    return { server: this.#servers.get(mdev.uuid)?.stats, times: this.#times.get(mdev.uuid) }
  }

  /**
   * Removes all mdevs, from their clients too, and gives the parent's name back, at once. Idempotent.
   *
   * A driver may take time to close what it has opened: {@link closed} resolves when it has.
   */
  close(log?: Logger): void {
    this.#closed = this.parent
      .unregister({ force: true })
      .catch((error: unknown) => log?.error(`closing: ${describeError(error)}`))
    this.#name.release()
  }

  /** Resolves when the driver has let go of everything, once {@link close} was called. It takes 10 s at most. */
  get closed(): Promise<void> {
    return this.#closed
  }
}
