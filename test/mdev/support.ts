/** A parent without a host: what it claims, exposes, tells and logs is noted, in order. */
import assert from 'node:assert/strict'
import type { ClientMemory } from '../../src/device/dma.ts'
import { Container } from '../../src/iommu/container.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { createLogger } from '../../src/lib/log.ts'
import type { AttributeTexts } from '../../src/mdev/attribute.ts'
import { type Claim, type Claims, LocalClaims } from '../../src/mdev/claims.ts'
import type { DeviceOps, Driver, Mdev } from '../../src/mdev/driver.ts'
import { createEvents, type MdevEvents } from '../../src/mdev/events.ts'
import type { GroupMember, GroupParty, GroupUser } from '../../src/mdev/group.ts'
import type { GroupPlace } from '../../src/mdev/joined-group.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import type { MdevSession } from '../../src/mdev/mdev-session.ts'
import { Parent } from '../../src/mdev/parent.ts'

export const IDENTITY = { vendor: 0x4348, device: 0x3253, class: 0x07_00_02 }

/** The UUIDs of `kernel-mdev-transcript.md` are as good as any; these count. */
export function uuid(number: number): string {
  return `83b8f4f2-509f-382f-3c1e-${number.toString(16).padStart(12, '0')}`
}

/** Builds the least that a driver must. */
export function probeNothing(mdev: Mdev): DeviceOps {
  mdev.pci(IDENTITY)
  return { reset: () => {} }
}

/** A driver named `test` with one type, `test-1`, and what `parts` says. */
export function driverOf(parts: Partial<Driver> = {}): Driver {
  return { name: 'test', types: { 1: {} }, probe: probeNothing, ...parts }
}

/** Claims that note what is taken and given back. */
class NotedClaims implements Claims {
  readonly #inner: Claims
  readonly #note: (line: string) => void

  constructor(inner: Claims, note: (line: string) => void) {
    this.#inner = inner
    this.#note = note
  }

  claimUuid(uuid: string): Claim<string> {
    return this.#noted('uuid', this.#inner.claimUuid(uuid))
  }
  claimGroup(): Claim<number> {
    return this.#noted('group', this.#inner.claimGroup())
  }
  joinGroup(uuid: string, member: GroupMember, party: GroupParty): Promise<GroupPlace> {
    return this.#inner.joinGroup(uuid, member, party)
  }

  #noted<T>(what: string, claim: Claim<T>): Claim<T> {
    this.#note(`claim ${what}`)
    return {
      value: claim.value,
      release: () => {
        this.#note(`release ${what}`)
        claim.release()
      },
    }
  }
}

const EVENTS = [
  'registered',
  'unregistered',
  'changed',
  'add',
  'bind',
  'unbind',
  'remove',
  'change',
  'attach',
  'detach',
] as const satisfies readonly (keyof MdevEvents)[]

export interface BenchOptions {
  readonly claims?: Claims
  readonly name?: string
  /** Throws to refuse. */
  readonly expose?: (mdev: MdevDevice) => void
  /** Called when an exposure is closed. */
  readonly onHide?: () => void
  readonly clock?: Clock
  readonly settings?: AttributeTexts
}

/** A clock that ticks when it is told to. */
export class ManualClock implements Clock {
  readonly #actions = new Map<symbol, { readonly ms: number; readonly action: () => void }>()

  every(ms: number, action: () => void): () => void {
    const key = Symbol('timer')
    this.#actions.set(key, { ms, action })
    return () => void this.#actions.delete(key)
  }

  readonly #waits = new Set<() => void>()

  after(_ms: number, action: () => void): () => void {
    this.#waits.add(action)
    return () => void this.#waits.delete(action)
  }

  /** How many wait for something that may not come. */
  get waits(): number {
    return this.#waits.size
  }

  /** Lets everyone who waits give up. */
  expire(): void {
    const waits = [...this.#waits]
    this.#waits.clear()
    for (const action of waits) action()
  }

  /** How often each running timer fires, in ms. */
  get periods(): readonly number[] {
    return [...this.#actions.values()].map(({ ms }) => ms)
  }

  /** Lets every timer fire once. */
  tick(): void {
    for (const { action } of this.#actions.values()) action()
  }
}

export class Bench {
  /** What has happened, in order. */
  readonly notes: string[] = []
  readonly logged: string[] = []
  readonly events = createEvents()
  readonly parent: Parent

  constructor(driver: Driver, options: BenchOptions = {}) {
    for (const name of EVENTS) this.events.on(name, () => this.notes.push(name))
    this.parent = new Parent({
      name: options.name ?? 'parent',
      driver,
      claims: new NotedClaims(options.claims ?? new LocalClaims(), (line) => this.notes.push(line)),
      events: this.events,
      log: createLogger('warn', (line) => {
        this.logged.push(line.replace(/ \(\/\S+:\d+\)$/, '')) // where a test throws is nothing to compare
      }),
      bus: {
        expose: (mdev) => {
          options.expose?.(mdev)
          this.notes.push('expose')
          return {
            close: () => {
              this.notes.push('hide')
              options.onHide?.()
            },
          }
        },
      },
      clock: options.clock ?? new ManualClock(),
      settings: options.settings ?? [],
    })
  }

  /** What has happened since the last call. */
  take(): string[] {
    return this.notes.splice(0)
  }

  available(typeName = 'test-1'): number | undefined {
    return this.parent.types.find(({ name }) => name === typeName)?.availableInstances
  }
}

/** Memory of a client that answers whatever it is asked, and has none. */
export const NO_MEMORY: ClientMemory = memoryWithout()

function memoryWithout(): ClientMemory {
  const remote = { read: async () => {}, write: async () => {} }
  const container = new Container({ maxMaps: 1, remote })
  container.map({ iova: 0, size: 0x1000, readable: true, writable: true })
  return container.memory
}

/** A client that has the mdev open, and closes when it is evicted. */
export class Client implements GroupUser {
  readonly description = 'pid 4711 (a test)'
  readonly process = '? 4711'
  readonly session: MdevSession
  evictions = 0

  constructor(mdev: MdevDevice, memory: ClientMemory = NO_MEMORY) {
    this.session = mdev.open(this, memory)
  }

  evict(): void {
    this.evictions++
    this.session.close()
  }

  /** Lets the function use memory: bus master, bit 2 of Command (PCI 3.0, 6.2.2). */
  enableBusMaster(): void {
    const command = new DataView(Uint8Array.of(4, 0).buffer)
    const config = this.session.device.regions[7]
    assert.ok(config)
    config.write(command, 0, 4, 2)
  }
}

/** A promise and its handle, for a probe that the test ends. */
export function deferred<T>() {
  let resolve: (value: T) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
