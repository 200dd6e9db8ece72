/** A PCI function: what a driver assembles in `probe`, and what a client then finds. */
import { inspect } from 'node:util'
import * as pci from '../abi/pci.ts'
import * as vfio from '../abi/vfio.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { ConfigSpace } from './config-space.ts'
import type { Device } from './device.ts'
import type { DeviceState } from './device-state.ts'
import type { DoorbellInfo } from './doorbell.ts'
import { IntxIrq } from './intx.ts'
import { EdgeIrq, type IrqIndex } from './irq.ts'
import type { IntxLine, IrqVector } from './irq-line.ts'
import { Migration } from './migration.ts'
import { MsiIrq } from './msi.ts'
import { MsixTable } from './msix-table.ts'
import { addExpress, addMsi, addMsix, addPowerManagement } from './pci-capabilities.ts'
import { PciMigration } from './pci-migration.ts'
import type { PciFunction, PciIdentity, ResetCause } from './pci.ts'
import { RegionMemory } from './region-memory.ts'
import { DeviceRegion, NO_REGISTERS, type RegionType } from './region.ts'
import type { BarInfo, OwnRegionInfo, RegionMemoryInfo, Registers, Width } from './registers.ts'

const READ_WRITE = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE
const MIN_ROM = 2048
/** PCI 3.0, 6.2.5.2. */
const MAX_ROM = 16 * 1024 * 1024
const INTERRUPT_PIN_A = 1
const MSIX_BAR = 4
const MSI_COUNTS = [1, 2, 4, 8, 16, 32]
const MAX_MSIX = 2048
/** QEMU takes no device with more regions. */
const MAX_REGIONS = 100
/** By width: half the address space, and what still is a number in bytes. */
const MAX_BAR = { io: 2 ** 31, mem32: 2 ** 31, mem64: 2 ** 52 }
const WIDTHS: readonly Width[] = [1, 2, 4]
/** The width of each field; vendor 0xffff is what an empty slot reads as. */
const IDENTITY_MAX = {
  vendor: 0xfffe,
  device: 0xffff,
  class: 0xff_ffff,
  revision: 0xff,
  subsystemVendor: 0xffff,
  subsystem: 0xffff,
} as const satisfies Record<keyof PciIdentity, number>

export class PciDevice implements PciFunction, Device {
  readonly flags = vfio.VFIO_DEVICE_FLAGS_RESET | vfio.VFIO_DEVICE_FLAGS_PCI
  readonly regions: DeviceRegion[]
  readonly irqs: IrqIndex[]
  readonly #identity: PciIdentity
  readonly #upperHalves = new Set<number>()
  /** BARs in I/O space. */
  readonly #ports = new Set<number>()
  readonly #capabilities = new Set<string>()
  readonly #config: ConfigSpace
  #intx: IntxIrq
  readonly #request = new EdgeIrq(vfio.VFIO_PCI_REQ_IRQ_INDEX, 1, vfio.VFIO_IRQ_INFO_EVENTFD)
  #msix: MsixTable | undefined
  #onReset: (why: ResetCause) => void = () => {}
  #onQuiesce: () => void | Promise<void> = () => {}
  /** What capabilities do besides, at a reset. */
  readonly #resetSteps: (() => void)[] = []
  #sealed = false
  #migration: Migration | undefined

  /** @throws EINVAL an id that does not fit its register */
  constructor(identity: PciIdentity) {
    checkIdentity(identity)
    this.#identity = identity
    this.#config = new ConfigSpace(pci.PCI_CFG_SPACE_SIZE)
    this.#intx = new IntxIrq(0)
    this.regions = REGION_NAMES.map((name) => DeviceRegion.absent(name))
    this.irqs = [
      this.#intx,
      new MsiIrq(vfio.VFIO_PCI_MSI_IRQ_INDEX, 0),
      new MsiIrq(vfio.VFIO_PCI_MSIX_IRQ_INDEX, 0),
      new EdgeIrq(vfio.VFIO_PCI_ERR_IRQ_INDEX, 1, vfio.VFIO_IRQ_INFO_EVENTFD),
      this.#request,
    ]
    this.#writeHeader()
  }

  requestRelease(): void {
    this.#request.trigger()
  }

  intx(): IntxLine {
    this.#mustBeOpen()
    if (this.#intx.count === 0) {
      this.#intx = new IntxIrq(1, (asserted) => this.#showInterrupt(asserted))
      this.irqs[vfio.VFIO_PCI_INTX_IRQ_INDEX] = this.#intx
      this.#config.bytes[pci.PCI_INTERRUPT_PIN] = INTERRUPT_PIN_A
    }
    return this.#intx.source()
  }

  msi(count: number): readonly IrqVector[] {
    this.#mustBeOpen()
    if (!MSI_COUNTS.includes(count))
      throw new ErrnoError('EINVAL', `msi: ${count} vectors, not ${MSI_COUNTS.join(', ')}`)
    this.#mustBeFirst(vfio.VFIO_PCI_MSI_IRQ_INDEX)
    const irq = new MsiIrq(vfio.VFIO_PCI_MSI_IRQ_INDEX, count)
    addMsi(this.#config, count)
    this.irqs[vfio.VFIO_PCI_MSI_IRQ_INDEX] = irq
    return irq.vectors
  }

  msix(
    count: number,
    { bar = MSIX_BAR, offset }: { readonly bar?: number; readonly offset?: number } = {},
  ): readonly IrqVector[] {
    this.#mustBeOpen()
    if (!Number.isInteger(count) || count < 1 || count > MAX_MSIX) {
      throw new ErrnoError('EINVAL', `msix: ${count} vectors, not 1 to ${MAX_MSIX}`)
    }
    this.#mustBeFirst(vfio.VFIO_PCI_MSIX_IRQ_INDEX)
    const irq = new MsiIrq(vfio.VFIO_PCI_MSIX_IRQ_INDEX, count)
    const table = new MsixTable(irq)
    if (offset === undefined) this.bar(bar, { kind: 'mem32', size: table.size }, NO_REGISTERS)
    else this.#checkMsixPlace(bar, offset)
    const start = offset ?? 0
    this.#barOf(bar, 'msix').addMsix(start, table.size, table)
    addMsix(this.#config, count, bar, start, start + table.pbaOffset)
    this.#msix = table
    this.irqs[vfio.VFIO_PCI_MSIX_IRQ_INDEX] = irq
    return irq.vectors
  }

  bar(index: number, info: BarInfo, registers?: Registers): void {
    this.#mustBeOpen()
    const { kind, size, prefetchable = false } = info
    if (!Object.hasOwn(MAX_BAR, kind)) {
      const kinds = Object.keys(MAX_BAR).join(', ')
      throw new ErrnoError('EINVAL', `bar ${index}: kind ${JSON.stringify(kind)}: not ${kinds}`)
    }
    const wide = kind === 'mem64'
    if (!Number.isInteger(index) || index < 0 || index + (wide ? 1 : 0) >= pci.PCI_STD_NUM_BARS) {
      throw new ErrnoError(
        'EINVAL',
        `bar ${index}: a ${kind} BAR has an index from 0 to ${wide ? 4 : 5}`,
      )
    }
    if (this.#isTaken(index) || (wide && this.#isTaken(index + 1))) {
      throw new ErrnoError('EEXIST', `bar ${index}: taken already`)
    }
    const least = kind === 'io' ? 4 : 16
    const most = MAX_BAR[kind]
    if (!isPowerOfTwo(size) || size < least || size > most) {
      throw new ErrnoError(
        'EINVAL',
        `bar ${index}: size ${shown(size)} is no power of two from ${hex(least)} to ${hex(most)}`,
      )
    }
    if (kind === 'io' && prefetchable) {
      throw new ErrnoError('EINVAL', `bar ${index}: I/O space cannot be prefetchable`)
    }
    if (kind === 'io' && info.memory !== undefined) {
      throw new ErrnoError('EINVAL', `bar ${index}: I/O space cannot be mapped`)
    }
    const region = regionOf(`BAR${index}`, info, registers)
    const register = pci.PCI_BASE_ADDRESS_0 + 4 * index
    const type =
      (kind === 'io' ? pci.PCI_BASE_ADDRESS_SPACE_IO : 0) |
      (wide ? pci.PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
      (prefetchable ? pci.PCI_BASE_ADDRESS_MEM_PREFETCH : 0)
    this.#config.view.setUint32(register, type, true)
    // What stays 0 when all ones are written tells the guest the size.
    this.#config.allowWrites(register, 4, size >= 2 ** 32 ? 0 : ~(size - 1))
    if (wide) this.#config.allowWrites(register + 4, 4, size > 2 ** 32 ? ~(size / 2 ** 32 - 1) : ~0)
    this.regions[index] = region
    if (wide) this.#upperHalves.add(index + 1)
    if (kind === 'io') this.#ports.add(index)
  }

  doorbell(
    bar: number,
    { offset, width = 4 }: DoorbellInfo,
    onRing: (value: number) => void,
  ): void {
    this.#mustBeOpen()
    const isPort = this.#ports.has(bar)
    this.#barOf(bar, 'doorbell').addDoorbell({ offset, width, isPort, ring: onRing })
  }

  region(info: OwnRegionInfo, registers?: Registers): number {
    this.#mustBeOpen()
    const index = this.regions.length
    const { type, subtype, size } = info
    const what = `region ${index}`
    if (!isU32(type) || !isU32(subtype))
      throw new ErrnoError('EINVAL', `${what}: type ${type}, subtype ${subtype}: not of 32 bits`)
    if (!Number.isSafeInteger(size) || size < 1)
      throw new ErrnoError('EINVAL', `${what}: size ${size}`)
    if (index >= MAX_REGIONS) throw new ErrnoError('ENOSPC', `${what}: ${MAX_REGIONS} are the most`)
    this.regions.push(regionOf(what, info, registers, { type, subtype }))
    return index
  }

  rom(content: Uint8Array): void {
    this.#mustBeOpen()
    if (this.#isTaken(vfio.VFIO_PCI_ROM_REGION_INDEX)) {
      throw new ErrnoError('EEXIST', 'rom: there already')
    }
    if (content.length > MAX_ROM) {
      throw new ErrnoError('EINVAL', `rom: ${content.length} bytes, ${MAX_ROM} are the most`)
    }
    const size = Math.max(MIN_ROM, 2 ** Math.ceil(Math.log2(content.length)))
    const bytes = new Uint8Array(size).fill(0xff)
    bytes.set(content)
    this.#config.allowWrites(pci.PCI_ROM_ADDRESS, 4, ~(size - 1) | pci.PCI_ROM_ADDRESS_ENABLE)
    this.regions[vfio.VFIO_PCI_ROM_REGION_INDEX] = new DeviceRegion(
      'ROM',
      size,
      vfio.VFIO_REGION_INFO_FLAG_READ,
      { read: (offset) => bytes[offset] ?? 0xff, write: () => {} },
      1,
    )
  }

  powerManagement(): void {
    this.#mustBeOpen()
    this.#mustBeOnly('power management')
    this.#resetSteps.push(addPowerManagement(this.#config, () => this.reset('flr')))
  }

  express(): void {
    this.#mustBeOpen()
    this.#mustBeOnly('express')
    addExpress(this.#config, () => this.reset('flr'))
    this.#config.grow(pci.PCI_CFG_SPACE_EXP_SIZE)
  }

  vendorCapability(body: Uint8Array): void {
    this.#mustBeOpen()
    const size = body.length + 3
    const offset = this.#config.addCapability(pci.PCI_CAP_ID_VNDR, size)
    this.#config.bytes[offset + 2] = size
    this.#config.bytes.set(body, offset + 3)
  }

  /** `probe` has returned: the function is complete, and this is its power-on state. */
  seal(onReset: (why: ResetCause) => void, onQuiesce: () => void | Promise<void> = () => {}): void {
    this.#sealed = true
    this.#onReset = onReset
    this.#onQuiesce = onQuiesce
    this.#config.seal()
    this.regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX] = new DeviceRegion(
      'config',
      this.#config.size,
      READ_WRITE,
      this.#config,
    )
  }

  /**
   * Lets the function migrate, once it is sealed.
   *
   * @param holdMemory shuts guest memory off while the device is stopped
   * @throws EINVAL the hook cannot be used
   */
  enableMigration(state: DeviceState, holdMemory: (held: boolean) => void): void {
    const parts = new PciMigration({
      config: this.#config,
      irqs: this.irqs,
      msix: this.#msix,
      state,
      reset: () => this.reset('device'),
      holdMemory,
    })
    this.#migration = new Migration(parts)
  }

  get migration(): Migration | undefined {
    return this.#migration
  }

  /** Whether the guest lets the function use memory. */
  get busMaster(): boolean {
    return (this.#config.view.getUint16(pci.PCI_COMMAND, true) & pci.PCI_COMMAND_MASTER) !== 0
  }

  reset(why: ResetCause): void {
    this.#onReset(why) // first: it takes the interrupt lines back
    this.#config.reset()
    for (const step of this.#resetSteps) step()
    this.#msix?.reset()
    for (const irq of this.irqs) irq.reset()
    this.#showInterrupt(this.#intx.asserted)
  }

  quiesce(): void | Promise<void> {
    return this.#onQuiesce()
  }

  #writeHeader(): void {
    const {
      vendor,
      device,
      revision = 0,
      subsystemVendor = vendor,
      subsystem = device,
    } = this.#identity
    const { view } = this.#config
    view.setUint16(pci.PCI_VENDOR_ID, vendor, true)
    view.setUint16(pci.PCI_DEVICE_ID, device, true)
    view.setUint32(pci.PCI_CLASS_REVISION, this.#identity.class * 0x100 + revision, true)
    view.setUint16(pci.PCI_SUBSYSTEM_VENDOR_ID, subsystemVendor, true)
    view.setUint16(pci.PCI_SUBSYSTEM_ID, subsystem, true)
    this.#config.allowWrites(pci.PCI_COMMAND, 2, COMMAND_BITS)
    this.#config.clearByOne(pci.PCI_STATUS, 2, STATUS_ERRORS)
    this.#config.allowWrites(pci.PCI_CACHE_LINE_SIZE, 1, 0xff)
    this.#config.allowWrites(pci.PCI_LATENCY_TIMER, 1, 0xff)
    this.#config.allowWrites(pci.PCI_INTERRUPT_LINE, 1, 0xff)
    this.#config.watch(pci.PCI_COMMAND, 2, () => {
      const command = this.#config.view.getUint16(pci.PCI_COMMAND, true)
      this.#intx.disabledByCommand = (command & pci.PCI_COMMAND_INTX_DISABLE) !== 0
    })
  }

  #showInterrupt(asserted: boolean): void {
    const { view } = this.#config
    const status = view.getUint16(pci.PCI_STATUS, true) & ~pci.PCI_STATUS_INTERRUPT
    view.setUint16(pci.PCI_STATUS, status | (asserted ? pci.PCI_STATUS_INTERRUPT : 0), true)
  }

  /** @throws ENOENT no such BAR */
  #barOf(index: number, what: string): DeviceRegion {
    const region = index < pci.PCI_STD_NUM_BARS ? this.regions[index] : undefined
    if (region === undefined || region.size === 0)
      throw new ErrnoError('ENOENT', `${what}: there is no BAR ${index} yet`)
    return region
  }

  /** The table may share a BAR, but no page. @throws EINVAL */
  #checkMsixPlace(bar: number, offset: number): void {
    if (offset % PAGE_SIZE !== 0)
      throw new ErrnoError('EINVAL', `msix at ${hex(offset)}: not a multiple of ${hex(PAGE_SIZE)}`)
    if (this.#ports.has(bar)) throw new ErrnoError('EINVAL', `msix: BAR ${bar} is I/O space`)
  }

  #isTaken(index: number): boolean {
    return this.regions[index]?.size !== 0 || this.#upperHalves.has(index)
  }

  #mustBeFirst(irqIndex: number): void {
    if (this.irqs[irqIndex]?.count !== 0)
      throw new ErrnoError('EEXIST', `irq index ${irqIndex}: there already`)
  }

  #mustBeOnly(capability: string): void {
    if (this.#capabilities.has(capability))
      throw new ErrnoError('EEXIST', `${capability}: there already`)
    this.#capabilities.add(capability)
  }

  #mustBeOpen(): void {
    if (this.#sealed) throw new ErrnoError('EBUSY', 'pci function: fixed since probe returned')
  }
}

const REGION_NAMES = ['BAR0', 'BAR1', 'BAR2', 'BAR3', 'BAR4', 'BAR5', 'ROM', 'config', 'VGA']

const COMMAND_BITS =
  pci.PCI_COMMAND_IO |
  pci.PCI_COMMAND_MEMORY |
  pci.PCI_COMMAND_MASTER |
  pci.PCI_COMMAND_PARITY |
  pci.PCI_COMMAND_SERR |
  pci.PCI_COMMAND_INTX_DISABLE

const STATUS_ERRORS =
  pci.PCI_STATUS_PARITY |
  pci.PCI_STATUS_SIG_TARGET_ABORT |
  pci.PCI_STATUS_REC_TARGET_ABORT |
  pci.PCI_STATUS_REC_MASTER_ABORT |
  pci.PCI_STATUS_SIG_SYSTEM_ERROR |
  pci.PCI_STATUS_DETECTED_PARITY

function checkIdentity(identity: PciIdentity): void {
  for (const [field, most] of Object.entries(IDENTITY_MAX)) {
    const value = identity?.[field as keyof PciIdentity]
    if (value === undefined && !REQUIRED.has(field)) continue
    if (!Number.isInteger(value) || !(value! >= 0 && value! <= most)) {
      throw new ErrnoError('EINVAL', `pci ${field} ${shown(value)}: not from 0 to ${hex(most)}`)
    }
  }
}

const REQUIRED: ReadonlySet<string> = new Set(['vendor', 'device', 'class'])

/** What a driver gave for a number: in JavaScript that may be anything. */
function shown(value: unknown): string {
  return typeof value === 'number' ? hex(value) : inspect(value)
}

function regionOf(
  name: string,
  info: RegionMemoryInfo & Pick<BarInfo, 'size' | 'maxWidth'>,
  registers: Registers | undefined,
  type?: RegionType,
): DeviceRegion {
  if (registers === undefined && info.memory === undefined)
    throw new ErrnoError('EINVAL', `${name}: neither registers nor memory`)
  if (registers !== undefined) checkRegisters(name, registers)
  if (info.maxWidth !== undefined && !WIDTHS.includes(info.maxWidth))
    throw new ErrnoError('EINVAL', `${name}: maxWidth ${info.maxWidth}: not ${WIDTHS.join(', ')}`)
  return new DeviceRegion(name, info.size, READ_WRITE, registers ?? NO_REGISTERS, info.maxWidth, {
    ...memoryOf(name, info),
    ...(type === undefined ? {} : { type }),
  })
}

function checkRegisters(name: string, registers: Registers): void {
  for (const method of ['read', 'write'] as const) {
    if (typeof registers?.[method] !== 'function')
      throw new ErrnoError('EINVAL', `${name}: registers without ${method}(): both are needed`)
  }
}

function memoryOf(
  name: string,
  { size, memory, areas }: RegionMemoryInfo & { readonly size: number },
): { readonly memory?: RegionMemory } {
  if (memory === undefined) {
    if (areas !== undefined) throw new ErrnoError('EINVAL', `${name}: areas of no memory`)
    return {}
  }
  if (areas === undefined && memory.size !== size) {
    throw new ErrnoError('EINVAL', `${name}: ${hex(size)}, with a memory of ${hex(memory.size)}`)
  }
  return { memory: new RegionMemory(name, size, memory, areas) }
}

function isU32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff
}

function isPowerOfTwo(value: number): boolean {
  return 2 ** Math.round(Math.log2(value)) === value // the logarithm alone rounds neighbours of big powers to whole numbers
}
