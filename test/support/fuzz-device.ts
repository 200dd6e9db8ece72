/** The devices that are fuzzed: one with all that a device can have, one with little; written against the SDK. */
import { closeSync, ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import {
  defineDriver,
  type DeviceState,
  type Dma,
  ErrnoError,
  type IrqLine,
  type IrqVector,
  type Mdev,
  type PciFunction,
  type Registers,
} from '../../src/index.ts'

export const DEVICE_KINDS = ['full', 'plain'] as const
export type DeviceKind = (typeof DEVICE_KINDS)[number]

export const VENDOR = 0x1b36
export const DEVICE = 0xbe15

/** Registers of BAR 0; below {@link SCRATCH_SIZE} are bytes that read back as written. */
export const SCRATCH_SIZE = 0x100
export const REGISTER = {
  /** Accesses throw a plain Error. */
  bug: 0x100,
  /** Accesses throw ENODEV. */
  refusing: 0x104,
  /** The level of INTA#. */
  intx: 0x108,
  /** Writing n triggers vector n. */
  msi: 0x10c,
  msix: 0x110,
  /** Guest memory that {@link DMA} is about. */
  iovaLow: 0x120,
  iovaHigh: 0x124,
  length: 0x128,
  /** Writing one of {@link DMA} does it. */
  dma: 0x12c,
  /** How many transfers have ended, well or not. */
  done: 0x130,
} as const

/** What the device does with guest memory. */
export const DMA = {
  /** Reads; the first bytes go to the scratch bytes. */
  read: 1,
  /** Writes the scratch bytes, again and again. */
  write: 2,
  /** Looks at a view, and keeps it: every later command looks at it again. */
  view: 3,
  /** Reads, then writes back. */
  turn: 4,
  /** Single values of every width, at and after the address. */
  values: 5,
  /** The same as a list: the second half first. */
  list: 6,
  /** From and to the device's file, on the thread pool. */
  fromFile: 7,
  toFile: 8,
} as const

/** Of BAR 0: offset and width. The last one throws. */
export const DOORBELLS = [
  [0x140, 4],
  [0x144, 2],
  [0x148, 1],
  [0x14c, 4],
] as const

export const MSI_VECTORS = 8
export const MSIX_VECTORS = 20
export const BAR0_SIZE = 0x1000
/** What the deliberate bugs say, by which they are told from others. */
export const DELIBERATE = 'a bug that the fuzzed device has on purpose'

/** Most bytes of one transfer, and most transfers under way. */
const MAX_LENGTH = 4 * 2 ** 20
const MAX_UNDER_WAY = 8

export const fuzzedDriver = defineDriver({
  name: 'fuzzed',
  types: { full: { name: 'All there is' }, plain: { name: 'Registers and MSI' } },
  probe(mdev) {
    const pci = mdev.pci({ vendor: VENDOR, device: DEVICE, class: 0xff_00_00 })
    const file = openSync(join(mdev.directory, 'file'), 'w+')
    ftruncateSync(file, MAX_LENGTH)
    const remove = () => closeSync(file)
    const engine = new Engine(mdev.dma, pci.intx(), file)
    pci.bar(0, { kind: 'mem32', size: BAR0_SIZE }, engine)
    pci.bar(1, { kind: 'io', size: 8, maxWidth: 1 }, { read: (at) => at, write: () => {} })
    engine.vectors.msi = pci.msi(MSI_VECTORS)
    const reset = () => engine.reset()
    if (mdev.type === this.types['plain']) {
      pci.bar(2, { kind: 'mem64', size: 4 * 2 ** 20 }, bytesOf(new Uint8Array(0x1000)))
      return { reset, remove }
    }
    addMemory(mdev, pci)
    engine.vectors.msix = pci.msix(MSIX_VECTORS, { bar: 2, offset: 0x8000 })
    for (const [offset, width] of DOORBELLS)
      pci.doorbell(0, { offset, width }, (value) => engine.ring(offset, value))
    pci.rom(Buffer.from('55aa04', 'hex'))
    pci.powerManagement()
    pci.express()
    pci.vendorCapability(Buffer.alloc(9, 0x5a))
    return { reset, remove, state: engine.state }
  },
})

/** Memory in every way: all of a BAR, around an MSI-X table, in areas of two files, and in a region of its own. */
function addMemory(mdev: Mdev, pci: PciFunction): void {
  const registers = bytesOf(new Uint8Array(0x1000))
  pci.bar(2, { kind: 'mem64', size: 0x1_0000, memory: mdev.sharedMemory(0x1_0000) })
  const areas = [
    { offset: 0x1000, size: 0x1000 },
    { offset: 0x3000, size: 0x1000, memory: mdev.sharedMemory(0x1000) },
    { offset: 0x4800, size: 0x2800 },
  ]
  const sparse = mdev.sharedMemory(0x7000)
  pci.bar(4, { kind: 'mem32', size: 0x8000, memory: sparse, areas }, registers)
  pci.bar(5, { kind: 'mem32', size: 0x2000, memory: mdev.sharedMemory(0x2000) })
  const own = mdev.sharedMemory(2 * 2 ** 20)
  pci.region({ type: 0x8000_1b36, subtype: 7, size: own.size, memory: own })
}

/** Registers of which so many bytes are there, repeated. */
function bytesOf(bytes: Uint8Array): Registers {
  return {
    read: (offset, width) => {
      let value = 0
      for (let i = 0; i < width; i++) value += (bytes[(offset + i) % bytes.length] ?? 0) * 256 ** i
      return value
    },
    write: (offset, value, width) => {
      for (let i = 0; i < width; i++) bytes[(offset + i) % bytes.length] = value / 256 ** i
    },
  }
}

/** The registers of BAR 0, and what they do. */
class Engine implements Registers {
  readonly vectors: { msi: readonly IrqVector[]; msix: readonly IrqVector[] } = {
    msi: [],
    msix: [],
  }
  readonly #dma: Dma
  readonly #line: IrqLine
  readonly #file: number
  readonly #scratch = new Uint8Array(SCRATCH_SIZE)
  readonly #registers = new Uint32Array(BAR0_SIZE / 4)
  #kept: Uint8Array | undefined
  #underWay = 0

  constructor(dma: Dma, line: IrqLine, file: number) {
    this.#dma = dma
    this.#line = line
    this.#file = file
  }

  readonly state: DeviceState = {
    id: 'fuzzed',
    version: 3,
    save: () => this.#scratch.slice(),
    load: (bytes) => {
      if (bytes.length !== SCRATCH_SIZE)
        throw new ErrnoError('EINVAL', `state of ${bytes.length} bytes`)
      this.#scratch.set(bytes)
    },
  }

  reset(): void {
    this.#scratch.fill(0)
    this.#registers.fill(0)
    this.#kept = undefined
    this.#line.set(false)
  }

  read(offset: number, width: number): number {
    if (offset < SCRATCH_SIZE) return Buffer.from(this.#scratch.buffer).readUIntLE(offset, width)
    this.#misbehave(offset)
    return this.#registers[offset >>> 2] ?? 0
  }

  write(offset: number, value: number, width: number): void {
    if (offset < SCRATCH_SIZE) {
      Buffer.from(this.#scratch.buffer).writeUIntLE(value, offset, width)
      return
    }
    this.#misbehave(offset)
    if (offset !== REGISTER.done) this.#registers[offset >>> 2] = value
    if (offset === REGISTER.intx) this.#line.set((value & 1) === 1)
    else if (offset === REGISTER.msi) this.vectors.msi[value]?.trigger()
    else if (offset === REGISTER.msix) this.vectors.msix[value]?.trigger()
    else if (offset === REGISTER.dma) this.#start(value)
  }

  ring(offset: number, value: number): void {
    if (offset === DOORBELLS[3][0]) throw new Error(DELIBERATE)
    this.vectors.msix[value % MSIX_VECTORS]?.trigger()
    this.#start(1 + (value % 8))
  }

  #misbehave(offset: number): void {
    if (offset === REGISTER.bug) throw new Error(DELIBERATE)
    if (offset === REGISTER.refusing) throw new ErrnoError('ENODEV', 'the register refuses')
  }

  /** What fails is what a driver would note in a status register: it is not the access that fails. */
  #start(command: number): void {
    if (this.#underWay >= MAX_UNDER_WAY) return
    this.#underWay++
    this.#transfer(command)
      .catch((error: unknown) => {
        if (!(error instanceof ErrnoError)) throw error // the end of the host: no refusal, so a bug
      })
      .finally(() => {
        this.#underWay--
        const done = REGISTER.done >>> 2
        this.#registers[done] = (this.#registers[done] ?? 0) + 1
      })
  }

  async #transfer(command: number): Promise<void> {
    const low = this.#registers[REGISTER.iovaLow >>> 2] ?? 0
    const high = this.#registers[REGISTER.iovaHigh >>> 2] ?? 0
    const iova = low + high * 2 ** 32
    const length = (this.#registers[REGISTER.length >>> 2] ?? 0) % (MAX_LENGTH + 1)
    if (this.#kept !== undefined) look(this.#kept)
    if (command === DMA.view) {
      if (this.#kept !== undefined) this.#dma.releaseView(this.#kept)
      this.#kept = undefined
      this.#kept = this.#dma.view(iova, length)
      look(this.#kept)
    } else if (command === DMA.write) {
      await this.#dma.write(iova, this.#pattern(length))
    } else if (command === DMA.read || command === DMA.turn) {
      const bytes = new Uint8Array(length)
      await this.#dma.read(iova, bytes)
      this.#scratch.set(bytes.subarray(0, SCRATCH_SIZE))
      if (command === DMA.turn) await this.#dma.write(iova, bytes)
    } else if (command === DMA.values) {
      await this.#values(iova)
    } else {
      const half = length >>> 1
      const list = [
        { iova: iova + half, length: length - half },
        { iova, length: half },
      ]
      const bytes = new Uint8Array(length)
      if (command === DMA.list) {
        await this.#dma.readList(list, bytes)
        await this.#dma.writeList(list, bytes)
      }
      if (command === DMA.fromFile) await this.#dma.writeFromFile(list, this.#file, 0)
      if (command === DMA.toFile) await this.#dma.readToFile(list, this.#file, 0)
    }
  }

  async #values(iova: number): Promise<void> {
    await this.#dma.writeU8(iova, await this.#dma.readU8(iova + 1))
    await this.#dma.writeU16(iova + 2, await this.#dma.readU16(iova + 4))
    await this.#dma.writeU32(iova + 6, await this.#dma.readU32(iova + 10))
    await this.#dma.writeU64(iova + 14, await this.#dma.readU64(iova + 22))
  }

  #pattern(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += SCRATCH_SIZE)
      bytes.set(this.#scratch.subarray(0, Math.min(SCRATCH_SIZE, length - at)), at)
    return bytes
  }
}

/** Touches some of it, reading and writing: an address that is not there any more ends the process. */
function look(view: Uint8Array): void {
  if (view.length === 0) return
  const last = view.length - 1
  view[0] = ((view[0] ?? 0) + (view[last] ?? 0)) & 0xff
}
