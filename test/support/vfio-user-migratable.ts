/** A PCI function that can migrate, written against the SDK like any driver, and open to the test. */
import {
  defineDriver,
  type DeviceState,
  type Dma,
  type Driver,
  ErrnoError,
  type IrqLine,
  type IrqVector,
  type ResetCause,
} from '../../src/index.ts'
import { Served } from './vfio-user-served.ts'

/** Bytes of BAR 0 that read back as written, unless another size is given. */
export const SCRATCH_SIZE = 0x100
export const BAR0_SIZE = 0x1000
/** Writing sets the level of INTA#. */
export const LEVEL = 0xff0
export const MSI_VECTORS = 4
export const MSIX_VECTORS = 4
export const MSIX_BAR = 4

export interface MigratableOptions {
  readonly id?: string
  readonly version?: number
  /** Bytes of its state besides one. */
  readonly size?: number
  readonly device?: number
}

export class MigratableDevice {
  readonly driver: Driver
  readonly scratch: Buffer
  readonly resets: ResetCause[] = []
  /** Versions of what was loaded, in order. */
  readonly loaded: number[] = []
  line!: IrqLine
  msi!: readonly IrqVector[]
  msix!: readonly IrqVector[]
  dma!: Dma
  #level = 0

  constructor({
    id = 'test',
    version = 2,
    size = SCRATCH_SIZE,
    device = 0xbe14,
  }: MigratableOptions = {}) {
    this.scratch = Buffer.alloc(size)
    const state: DeviceState = {
      id,
      version,
      save: () => this.save(),
      load: (bytes, version) => {
        this.load(bytes)
        this.loaded.push(version)
      },
    }
    this.driver = defineDriver({
      name: 'test',
      types: { 1: { name: 'Migratable device' } },
      probe: (mdev) => {
        const pci = mdev.pci({ vendor: 0x1b36, device, class: 0xff_00_00 })
        this.dma = mdev.dma
        this.line = pci.intx()
        this.msi = pci.msi(MSI_VECTORS)
        this.msix = pci.msix(MSIX_VECTORS, { bar: MSIX_BAR })
        pci.powerManagement()
        pci.express()
        pci.bar(
          0,
          { kind: 'mem32', size: BAR0_SIZE, maxWidth: 1 },
          {
            read: (offset) => this.scratch[offset] ?? 0,
            write: (offset, value) => {
              if (offset === LEVEL) this.#setLevel(value & 1)
              else if (offset < this.scratch.length) this.scratch[offset] = value
            },
          },
        )
        return { reset: (why) => this.#reset(why), state }
      },
    })
  }

  save(): Uint8Array {
    return Buffer.concat([Buffer.of(this.#level), this.scratch])
  }

  load(bytes: Uint8Array): void {
    if (bytes.length !== 1 + this.scratch.length)
      throw new ErrnoError('EINVAL', `state of ${bytes.length} bytes`)
    this.#setLevel(bytes[0]! & 1)
    this.scratch.set(bytes.subarray(1))
  }

  #reset(why: ResetCause): void {
    this.resets.push(why)
    this.scratch.fill(0)
    this.#setLevel(0)
  }

  #setLevel(level: number): void {
    this.#level = level
    this.line.set(level === 1)
  }
}

/** A {@link MigratableDevice} and its socket. */
export async function serveMigratable(
  options: MigratableOptions = {},
): Promise<{ device: MigratableDevice; served: Served }> {
  const device = new MigratableDevice(options)
  return { device, served: await Served.start(device.driver) }
}
