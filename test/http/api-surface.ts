/** The machine of the transcript behind the HTTP API: its event stream, and hosts that are managed over their sockets. */
import assert from 'node:assert/strict'
import type { ApiClient } from '../../src/http/client.ts'
import type { MachineEvent, SnapshotEvent } from '../../src/http/events.ts'
import type { AttributeTexts } from '../../src/mdev/attribute.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import type { Found } from '../daemon/support.ts'
import { Client } from '../mdev/support.ts'
import type { Surface } from '../mdev/transcript-player.ts'
import { Api } from './support.ts'

export class ApiSurface implements Surface {
  readonly #api: Api
  readonly #found = new Map<string, Found>()
  readonly #end = new AbortController()
  readonly #events: AsyncGenerator<SnapshotEvent | MachineEvent, void, void>

  protected constructor(api: Api) {
    this.#api = api
    this.#events = api.client.events(this.#end.signal)
  }

  static async start(): Promise<ApiSurface> {
    return new ApiSurface(await Api.start()).listening()
  }

  /** From here on it hears of everything. */
  protected async listening(): Promise<this> {
    await this.#events.next() // the snapshot
    return this
  }

  protected get client(): ApiClient {
    return this.#api.client
  }

  /** Of the API, and for files. */
  protected get directory(): string {
    return this.#api.daemon.scratch.path
  }

  async register(parent: string, driver: Driver): Promise<void> {
    this.#found.set(parent, await this.#api.daemon.host(driver, parent))
  }

  async unregister(parent: string): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      this.#api.daemon.hosts.on('down', (name) => name === parent && resolve())
    })
    await this.client.unregister(parent, { wait: true })
    await gone
  }

  async create(
    parent: string,
    type: string,
    uuid: string,
    attributes: AttributeTexts,
  ): Promise<void> {
    await this.client.start({ parent, type, uuid, attributes })
  }

  async remove(uuid: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    await this.client.stop(uuid, options)
  }

  async change(uuid: string, attributes: AttributeTexts): Promise<void> {
    await this.client.change(uuid, attributes)
  }

  async attributes(uuid: string): Promise<AttributeTexts> {
    const [mdev] = await this.client.find(uuid)
    return mdev?.active?.attributes ?? []
  }

  async available(name: string): Promise<Readonly<Record<string, number>> | undefined> {
    const parent = (await this.client.parents()).find((each) => each.name === name)
    return (
      parent && Object.fromEntries(parent.types.map((type) => [type.name, type.availableInstances]))
    )
  }

  async mdevs(): Promise<readonly string[]> {
    const { mdevs } = await this.client.list()
    return mdevs
      .filter(({ active }) => active?.state === 'active')
      .map(({ uuid }) => uuid)
      .toSorted()
  }

  open(uuid: string): Client {
    for (const { host } of this.#found.values()) {
      const mdev = host.parent.mdevs.find((each) => each.uuid === uuid)
      if (mdev !== undefined) return new Client(mdev)
    }
    assert.fail(`mdev ${uuid}: nowhere`)
  }

  async event(): Promise<string> {
    const { value: event } = await this.#events.next()
    if (event?.action === 'unregistering') return this.event() // the kernel has no such event
    if (event === undefined || event.action === 'snapshot') return 'nothing'
    const state = 'MDEV_STATE' in event ? event.MDEV_STATE : undefined
    return state === undefined ? `${event.action} ${uuidIn(event)}` : `${state} ${event.parent}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort()
    await this.#events.return()
    await this.#api[Symbol.asyncDispose]()
  }
}

function uuidIn(event: MachineEvent): string {
  return 'uuid' in event ? event.uuid : ''
}
