/** What a driver's probe has built of an mdev: from the probe until the driver lets go. An mdev may have several in turn. */
import type { Device } from '../device/device.ts'
import { type ClientMemory, DmaGate, type DmaRange } from '../device/dma.ts'
import { PciDevice } from '../device/pci-device.ts'
import type { PciFunction, PciIdentity } from '../device/pci.ts'
import { SharedMemories, type SharedMemory } from '../device/shared-memory.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { DeviceOps, Mdev, TypeInfo } from './driver.ts'
import type { DriverSide } from './driver-side.ts'
import type { Faults } from './faults.ts'
import { checkStatus, type Status } from './status.ts'

/** What a device may do when it is told; `reset` it must. */
const HOOKS = [
  'reset',
  'quiesce',
  'remove',
  'status',
  'changeAttributes',
  'dmaMap',
  'dmaUnmap',
] as const satisfies readonly (keyof DeviceOps)[]

/** What is wrong with what `probe` returned, in whatever language it is written. */
function faultOf(ops: unknown): string | undefined {
  if (typeof ops !== 'object' || ops === null)
    return `returned ${ops === null ? 'null' : typeof ops}, not { reset }`
  for (const hook of HOOKS) {
    const given = (ops as Readonly<Record<string, unknown>>)[hook]
    if (typeof given === 'function' || (given === undefined && hook !== 'reset')) continue
    return given === undefined ? `returned no ${hook}` : `returned a ${hook} that is no function`
  }
  return undefined
}

export interface BuiltDeviceOptions {
  readonly uuid: string
  readonly type: TypeInfo
  readonly directory: string
  readonly driver: DriverSide
  readonly faults: Faults
  readonly log: Logger
  /** The mdev's settings as they are now. */
  readonly values: () => Readonly<Record<string, unknown>>
}

export class BuiltDevice {
  /** The driver's view of the mdev. */
  readonly handle: Mdev
  readonly #options: BuiltDeviceOptions
  readonly #dma: DmaGate
  readonly #memories = new SharedMemories()
  #state: 'probing' | 'built' | 'removed' = 'probing'
  #pci: PciDevice | undefined
  #ops: DeviceOps | undefined

  constructor(options: BuiltDeviceOptions) {
    const { uuid, type, directory, log, values } = options
    this.#options = options
    this.#dma = new DmaGate(() => this.#pci?.busMaster ?? false)
    this.handle = {
      uuid,
      type,
      get attributes() {
        return values()
      },
      directory,
      dma: this.#dma,
      log,
      pci: (identity) => this.#buildPci(identity),
      sharedMemory: (size) => this.#createMemory(size),
    }
  }

  /** Undefined before `probe` has built it. */
  get device(): Device | undefined {
    return this.#state === 'probing' ? undefined : this.#pci
  }

  /**
   * Lets the driver build the device. Whatever becomes of it, {@link remove} is its end.
   *
   * @throws what `probe` throws; EINVAL when it built no PCI function; ECANCELED when it was removed meanwhile
   */
  async probe(): Promise<void> {
    const { driver, faults } = this.#options
    const ops = await driver.probe(this.handle)
    if (this.#state === 'removed') {
      faults.tell('remove', () => ops?.remove?.())
      throw new ErrnoError('ECANCELED', `mdev ${this.#options.uuid}: removed while it was built`)
    }
    const missing = this.#pci === undefined ? 'has not called mdev.pci()' : faultOf(ops)
    if (this.#pci === undefined || missing !== undefined) {
      if (typeof ops?.remove === 'function') faults.tell('remove', () => ops.remove?.())
      throw new ErrnoError('EINVAL', `driver ${driver.name}: probe ${missing}`)
    }
    this.#ops = ops
    this.#pci.seal(
      (why) => faults.tell('reset', () => ops.reset(why)),
      () => {
        let under: void | Promise<void> = undefined
        faults.tell('quiesce', () => (under = ops.quiesce?.()))
        return under
      },
    )
    if (ops.state !== undefined) {
      this.#pci.enableMigration(ops.state, (held) => {
        this.#dma.held = held
      })
    }
    this.#state = 'built'
  }

  /** A client has opened it: this is its memory. */
  attach(memory: ClientMemory): void {
    this.#dma.memory = memory
  }

  /** The client has gone: back to the power-on state. */
  detach(): void {
    this.#dma.memory = undefined // first: the reset must not reach a client that has gone
    this.#options.faults.tell('shared memory', () => this.#memories.renew())
    const pci = this.#pci
    if (pci === undefined) return
    if (pci.migration?.stopped !== true) pci.reset('disconnect') // else the next client carries on
    for (const irq of pci.irqs) irq.disable()
  }

  /** Asks the client to let go, by the REQ interrupt. */
  requestRelease(): void {
    this.#pci?.requestRelease()
  }

  dmaMap(range: DmaRange): void {
    this.#options.faults.tell('dmaMap', () => this.#ops?.dmaMap?.(range))
  }

  dmaUnmap(range: DmaRange): void {
    this.#options.faults.tell('dmaUnmap', () => this.#ops?.dmaUnmap?.(range))
  }

  /** @throws what the driver says, who may take its time */
  changeAttributes(next: Readonly<Record<string, unknown>>): void | Promise<void> {
    return this.#ops?.changeAttributes?.(next)
  }

  /** What the driver shows of it. One that throws shows nothing. */
  status(): Status {
    return this.#options.faults.ask('status', {}, () => this.#ops?.status?.(), checkStatus)
  }

  /** The driver, if it built anything, lets go. Idempotent. */
  remove(): void {
    if (this.#state === 'removed') return
    this.#state = 'removed'
    this.#options.faults.tell('remove', () => this.#ops?.remove?.())
    this.#options.faults.tell('shared memory', () => this.#memories.free())
  }

  #buildPci(identity: PciIdentity): PciFunction {
    const { uuid } = this.#options
    if (this.#state !== 'probing')
      throw new ErrnoError('EBUSY', `mdev ${uuid}: mdev.pci() is for probe`)
    if (this.#pci !== undefined)
      throw new ErrnoError(
        'EEXIST',
        `mdev ${uuid}: mdev.pci() was called before: it is one PCI function`,
      )
    this.#pci = new PciDevice(identity)
    return this.#pci
  }

  #createMemory(size: number): SharedMemory {
    if (this.#state !== 'probing')
      throw new ErrnoError('EBUSY', `mdev ${this.#options.uuid}: mdev.sharedMemory() is for probe`)
    return this.#memories.create(size)
  }
}
