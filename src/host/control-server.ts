/** The host's end of its control socket: answers whoever manages it, and tells them what happens. */
import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { MessageConnection } from 'vscode-jsonrpc/node'
import { systemClock } from '../lib/clock.ts'
import { inTime } from '../lib/within.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { parseUuid } from '../lib/uuid.ts'
import type { MdevEvents } from '../mdev/events.ts'
import { MdevDevice } from '../mdev/mdev.ts'
import type { Owner } from '../mdev/owner.ts'
import type { Parent } from '../mdev/parent.ts'
import {
  type MdevSnapshot,
  type ParentSnapshot,
  snapshotOfMdev,
  snapshotOfNow,
  snapshotOfParent,
} from '../mdev/state.ts'
import { isAnswered, listenUnix } from '../os/unix-socket.ts'
import {
  answer,
  connectionOver,
  CONTROL_END,
  CONTROL_EVENT,
  CONTROL_VERSION,
  type ControlEvent,
} from './control-protocol.ts'
import type { Host } from './host.ts'

/** How long those who are connected have to hear of the end. */
const END_MS = 1000

const TOLD = [
  'registered',
  'unregistering',
  'unregistered',
  'changed',
  'add',
  'bind',
  'removing',
  'unbind',
  'remove',
  'change',
  'attach',
  'detach',
] as const satisfies readonly (keyof MdevEvents)[]

export interface ControlServerOptions {
  readonly host: Host
  /** Where to listen; removed at the end. */
  readonly path: string
  readonly log: Logger
  /** Called once the parent has been unregistered at somebody's request. */
  readonly onUnregistered: () => void
}

export class ControlServer {
  readonly #options: ControlServerOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** Those that have said hello. */
  readonly #listeners = new Map<Socket, MessageConnection>()
  readonly #untell: (() => void)[] = []
  /** Who made an mdev, by its UUID, where that was said. */
  readonly #owners = new Map<string, Owner>()

  /** @throws EADDRINUSE somebody listens there · EACCES, ENAMETOOLONG, ENOENT it cannot listen there */
  constructor(options: ControlServerOptions) {
    this.#options = options
    if (!isAnswered(options.path)) rmSync(options.path, { force: true }) // left by one that was killed
    const fd = listenUnix(options.path, 0o600)
    this.#server = createServer((socket) => this.#serve(socket))
    this.#server.on('error', (error) => options.log.error('control socket', error))
    this.#server.listen({ fd })
    const { events } = options.host
    for (const action of TOLD) {
      const tell = (subject: MdevDevice | Parent) =>
        this.#tell(action, subject instanceof MdevDevice ? subject : undefined)
      events.on(action, tell)
      this.#untell.push(() => events.off(action, tell))
    }
    const forget = ({ uuid }: MdevDevice) => void this.#owners.delete(uuid)
    events.on('remove', forget) // once it has been told
    this.#untell.push(() => events.off('remove', forget))
  }

  /** Hangs up on everyone, and removes the socket. Idempotent. */
  close(): void {
    for (const untell of this.#untell.splice(0)) untell()
    this.#server.close()
    for (const socket of this.#sockets) socket.destroySoon()
    rmSync(this.#options.path, { force: true })
  }

  #serve(socket: Socket): void {
    const connection = connectionOver(socket)
    const { host } = this.#options
    this.#sockets.add(socket)
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.#listeners.delete(socket)
    })
    answer(connection, 'hello', ({ version }) => {
      if (version !== CONTROL_VERSION)
        throw new ErrnoError('EPROTO', `control protocol ${version}: ours is ${CONTROL_VERSION}`)
      this.#listeners.set(socket, connection)
      return { version: CONTROL_VERSION, pid: process.pid, parent: this.#snapshot() }
    })
    answer(connection, 'create', async ({ type, uuid, attributes, owner }) => {
      const mdev = await this.#owned(uuid, owner, () => host.create(type, uuid, attributes))
      return this.#show(mdev)
    })
    answer(connection, 'remove', async ({ uuid, force, wait }) => {
      await host.parent.remove(uuid, { force, wait })
      return null
    })
    answer(connection, 'changeAttributes', async ({ uuid, attributes }) => {
      const mdev = host.parent.mdev(uuid)
      await mdev.changeAttributes(attributes)
      return this.#show(mdev)
    })
    answer(connection, 'changeParent', async ({ attributes }) => {
      await host.parent.changeAttributes(attributes)
      return snapshotOfNow(host.parent)
    })
    answer(connection, 'showMdev', ({ uuid }) => this.#show(host.parent.mdev(uuid)))
    answer(connection, 'showParent', () => snapshotOfNow(host.parent))
    answer(connection, 'unregister', async ({ force, wait = true }) => {
      try {
        await host.parent.unregister({ force, wait })
      } finally {
        // also where a removal has failed: there is nothing left to manage
        if (host.parent.state === 'unregistered') setImmediate(() => void this.#endAfterAnswer())
      }
      return null
    })
    connection.listen()
  }

  /**
   * Each side handles messages in their order: who has answered this has heard the answer and all events before it. One that
   * does not answer is not waited for.
   */
  async #endAfterAnswer(): Promise<void> {
    const heard = [...this.#listeners.values()].map(
      async (connection) => connection.sendRequest(CONTROL_END).catch(() => {}), // it has gone, which is as good
    )
    await inTime(Promise.all(heard), 'end', END_MS, systemClock).catch(() => {})
    this.#options.onUnregistered()
  }

  #tell(action: keyof MdevEvents, mdev: MdevDevice | undefined): void {
    if (this.#listeners.size === 0) return
    const { parent } = this.#options.host
    const event: ControlEvent = {
      action,
      ...(mdev === undefined ? {} : { mdev: this.#show(mdev) }),
      ...snapshotOfNow(parent),
    }
    for (const connection of this.#listeners.values()) {
      connection.sendNotification(CONTROL_EVENT, event).catch(() => {}) // it has gone
    }
  }

  #snapshot(): ParentSnapshot {
    const { host } = this.#options
    const snapshot = snapshotOfParent(host.parent, (mdev) => host.socketOf(mdev))
    return { ...snapshot, mdevs: snapshot.mdevs.map((mdev) => this.#withOwner(mdev)) }
  }

  #show(mdev: MdevDevice): MdevSnapshot {
    const { host } = this.#options
    return this.#withOwner(snapshotOfMdev(mdev, host.parent.name, host.socketOf(mdev)))
  }

  #withOwner(mdev: MdevSnapshot): MdevSnapshot {
    const owner = this.#owners.get(mdev.uuid)
    return owner === undefined ? mdev : { ...mdev, owner }
  }

  /** What `create` makes is the owner's from the first that anybody hears of it. */
  async #owned(
    uuid: string,
    owner: Owner | undefined,
    create: () => Promise<MdevDevice>,
  ): Promise<MdevDevice> {
    const name = parseUuid(uuid)
    if (owner !== undefined && !this.#bears(name)) this.#owners.set(name, owner)
    try {
      return await create()
    } catch (error) {
      if (!this.#bears(name)) this.#owners.delete(name)
      throw error
    }
  }

  #bears(uuid: string): boolean {
    return this.#options.host.parent.mdevs.some((mdev) => mdev.uuid === uuid)
  }
}
