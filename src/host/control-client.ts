/** The other end of a host's control socket: manages one parent, wherever its process is. */
import { EventEmitter, once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { MessageConnection } from 'vscode-jsonrpc/node'
import { ErrnoError } from '../lib/errno.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { Owner } from '../mdev/owner.ts'
import type { MdevSnapshot, ParentNow, ParentSnapshot } from '../mdev/state.ts'
import {
  connectionOver,
  CONTROL_END,
  CONTROL_EVENT,
  CONTROL_VERSION,
  type ControlEvent,
  type ControlMethod,
  type ControlParams,
  type ControlResults,
  refusalOf,
} from './control-protocol.ts'

/** How long a host may take for what needs no driver. */
const TIMEOUT_MS = 5000
/** How long it may take to create, which is more than the host itself allows its driver. */
const PROBE_TIMEOUT_MS = 35_000
/** How long it may take to end by force: until the driver has built what it is building, and has let go of everything. */
const END_TIMEOUT_MS = 42_000

/** - `event`: something has happened there. - `close`: the host has gone. */
interface ControlClientEvents {
  event: [event: ControlEvent]
  close: []
}

export class ControlClient extends EventEmitter<ControlClientEvents> {
  readonly #socket: Socket
  readonly #connection: MessageConnection
  #parent: ParentSnapshot | undefined
  #mdevs = new Map<string, MdevSnapshot>()
  #pid = 0

  private constructor(socket: Socket) {
    super()
    const connection = connectionOver(socket)
    this.#socket = socket
    this.#connection = connection
    connection.onNotification(CONTROL_EVENT, (event: ControlEvent) => {
      this.#note(event)
      this.emit('event', event)
    })
    connection.onRequest(CONTROL_END, () => null)
    connection.onClose(() => this.emit('close'))
    connection.listen()
  }

  /** @throws ENOENT, ECONNREFUSED nobody listens there · EPROTO another version · ETIMEDOUT it does not answer */
  static async connect(path: string): Promise<ControlClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    const client = new ControlClient(socket)
    try {
      const { pid, parent } = await client.#request('hello', { version: CONTROL_VERSION })
      client.#pid = pid
      client.#parent = parent
      client.#mdevs = new Map(parent.mdevs.map((mdev) => [mdev.uuid, mdev]))
      return client
    } catch (error) {
      client.close()
      throw error
    }
  }

  /** The parent and its mdevs, as last told. */
  get parent(): ParentSnapshot {
    if (this.#parent === undefined) throw new ErrnoError('ENOTCONN', 'host: has said nothing yet')
    return { ...this.#parent, mdevs: [...this.#mdevs.values()] }
  }

  /** Of the parent. */
  get name(): string {
    return this.#parent?.name ?? ''
  }

  /** An mdev of its, in whatever state. */
  mdev(uuid: string): MdevSnapshot | undefined {
    return this.#mdevs.get(uuid)
  }

  /** Whether it bears an mdev, in whatever state. */
  bears(uuid: string): boolean {
    return this.#mdevs.has(uuid)
  }

  /** Of the host. */
  get pid(): number {
    return this.#pid
  }

  /** @throws as Parent.create · ETIMEDOUT the driver builds for too long */
  async create(
    type: string,
    uuid: string,
    attributes: AttributeTexts = [],
    owner?: Owner,
  ): Promise<MdevSnapshot> {
    const by = owner === undefined ? {} : { owner }
    return this.#request('create', { type, uuid, attributes, ...by }, PROBE_TIMEOUT_MS)
  }

  /** @param options as of Parent.remove; with `wait`, as long as it takes @throws as Parent.remove */
  async remove(uuid: string, { force = false, wait = false } = {}): Promise<void> {
    await this.#request('remove', { uuid, force, wait }, wait ? Infinity : TIMEOUT_MS)
  }

  /** @throws as MdevDevice.changeAttributes */
  async changeAttributes(uuid: string, attributes: AttributeTexts): Promise<MdevSnapshot> {
    return this.#request('changeAttributes', { uuid, attributes }, PROBE_TIMEOUT_MS)
  }

  /** Changes settings of the parent itself. @throws as Parent.changeAttributes */
  async changeParent(attributes: AttributeTexts): Promise<ParentSnapshot> {
    const now = await this.#request('changeParent', { attributes }, PROBE_TIMEOUT_MS)
    return { ...this.parent, ...now }
  }

  /** An mdev, with what its driver shows of it now. @throws ENOENT */
  async showMdev(uuid: string): Promise<MdevSnapshot> {
    return this.#request('showMdev', { uuid })
  }

  /** The parent, with what its driver shows of it now. */
  async showParent(): Promise<ParentNow> {
    return this.#request('showParent', {})
  }

  /**
   * Ends the host, once its mdevs are removed: by force at once, else as their clients let go.
   *
   * @throws as Parent.unregister · ETIMEDOUT it does not end by force
   */
  async unregister({ force = false, wait = true } = {}): Promise<void> {
    const timeoutMs = force ? END_TIMEOUT_MS : Infinity
    try {
      await this.#request('unregister', { force, wait }, timeoutMs)
    } catch (error) {
      // It has gone, which is what was wanted: its end may be noticed before its answer.
      if (!(error instanceof ErrnoError && error.code === 'ECONNRESET')) throw error
    }
  }

  /** Hangs up; the host lives on. */
  close(): void {
    this.#socket.destroy()
  }

  /** Events come in order, and none before the answer to hello. */
  #note({ action, mdev, ...now }: ControlEvent): void {
    if (this.#parent !== undefined) this.#parent = { ...this.#parent, ...now }
    if (mdev === undefined) return
    if (action === 'remove') this.#mdevs.delete(mdev.uuid)
    else this.#mdevs.set(mdev.uuid, mdev)
  }

  /** @param timeoutMs Infinity: however long it takes */
  async #request<M extends ControlMethod>(
    method: M,
    params: ControlParams<M>,
    timeoutMs = TIMEOUT_MS,
  ): Promise<ControlResults[M]> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      if (timeoutMs === Infinity) return
      const why = `${method}: the host has not answered in ${timeoutMs / 1000} s`
      timer = setTimeout(() => reject(new ErrnoError('ETIMEDOUT', why)), timeoutMs)
    })
    try {
      const sent = this.#connection.sendRequest<ControlResults[M]>(method, params)
      return await Promise.race([sent, late])
    } catch (error) {
      throw error instanceof ErrnoError ? error : refusalOf(error, method)
    } finally {
      clearTimeout(timer)
    }
  }
}
