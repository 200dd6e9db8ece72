/** The kernel's transcript over the model: parents that share a machine, and nothing between them and who manages them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { AttributeTexts } from '../../src/mdev/attribute.ts'
import { LocalClaims } from '../../src/mdev/claims.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { createEvents } from '../../src/mdev/events.ts'
import { Parent } from '../../src/mdev/parent.ts'
import { Client, ManualClock } from './support.ts'
import { TRANSCRIPT_CASES } from './transcript-cases.ts'
import { Player, type Surface } from './transcript-player.ts'

const TOLD = ['add', 'bind', 'removing', 'unbind', 'remove', 'attach', 'detach'] as const

class ModelSurface implements Surface {
  readonly #claims = new LocalClaims()
  readonly #events = createEvents()
  readonly #parents = new Map<string, Parent>()
  readonly #told: string[] = []

  constructor() {
    for (const action of TOLD)
      this.#events.on(action, ({ uuid }) => this.#told.push(`${action} ${uuid}`))
    for (const action of ['registered', 'unregistered'] as const)
      this.#events.on(action, ({ name }) => this.#told.push(`${action} ${name}`))
  }

  async register(name: string, driver: Driver): Promise<void> {
    const parent = new Parent({
      name,
      driver,
      claims: this.#claims,
      events: this.#events,
      log: silentLogger,
      bus: { expose: () => ({ close: () => {} }) },
      clock: new ManualClock(),
    })
    this.#parents.set(name, parent)
  }

  async unregister(name: string): Promise<void> {
    await this.#parent(name).unregister()
    this.#parents.delete(name)
  }

  async create(
    parent: string,
    type: string,
    uuid: string,
    attributes: AttributeTexts,
  ): Promise<void> {
    await this.#parent(parent).create(type, uuid, attributes)
  }

  async change(uuid: string, attributes: AttributeTexts): Promise<void> {
    await this.#bearer(uuid).mdev(uuid).changeAttributes(attributes)
  }

  async attributes(uuid: string): Promise<AttributeTexts> {
    return this.#bearer(uuid).mdev(uuid).texts
  }

  async remove(uuid: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    await this.#bearer(uuid).remove(uuid, options)
  }

  async available(parent: string): Promise<Readonly<Record<string, number>> | undefined> {
    const types = this.#parents.get(parent)?.types
    return types && Object.fromEntries(types.map((type) => [type.name, type.availableInstances]))
  }

  async mdevs(): Promise<readonly string[]> {
    return [...this.#parents.values()]
      .flatMap(({ mdevs }) => mdevs)
      .filter(({ state }) => state === 'active')
      .map(({ uuid }) => uuid)
      .toSorted()
  }

  open(uuid: string): Client {
    return new Client(this.#bearer(uuid).mdev(uuid))
  }

  async event(): Promise<string> {
    return this.#told.shift() ?? 'nothing'
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const parent of this.#parents.values()) await parent.unregister({ force: true })
  }

  #parent(name: string): Parent {
    const parent = this.#parents.get(name)
    assert.ok(parent)
    return parent
  }

  #bearer(uuid: string): Parent {
    for (const parent of this.#parents.values())
      if (parent.mdevs.some((mdev) => mdev.uuid === uuid)) return parent
    throw new ErrnoError('ENOENT', `mdev ${uuid}: nowhere`)
  }
}

describe('The transcript over the model', () => {
  for (const { section, title, play } of TRANSCRIPT_CASES) {
    test(`${section}: ${title}`, async () => {
      await using surface = new ModelSurface()
      await play(new Player(surface))
    })
  }
})
