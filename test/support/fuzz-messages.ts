/**
 * What a hostile client says: requests that mean something to the devices of fuzz-device.ts, with values around which bounds
 * lie, some of them spoilt afterwards. Numbers are those of the reference, sections 3 to 14.
 */
import { DMA, DOORBELLS, REGISTER, SCRATCH_SIZE } from './fuzz-device.ts'
import { ALL_GIFTS, EVENT_GIFTS, FILE_SIZE, type GiftKind, MEMORY_GIFTS } from './fuzz-gifts.ts'
import type { Random } from './fuzz-random.ts'
import type { MessageWriter, Written } from './fuzz-writer.ts'
import * as wire from './vfio-user-raw.ts'

const PAGE = 4096
/** Pages of the part of the address space that most maps lie in: few, so that they meet. */
const PAGES = 16
const CONFIG = 7
const MAX_TRANSFER = 2 ** 20
/** Server to client; from a client they are answers, asked for or not. */
export const DMA_READ = 11
export const DMA_WRITE = 12
/** Types of message, in the low bits of the flags. */
export const TYPE = 0xf
export const REPLY = 1

const BOUNDS_32 = [
  0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 20, 24, 32, 40, 48, 64, 255, 256, 4095, 4096, 4097, 0x8000,
  0xffff, 0x1_0000, 0xf_ffff, 0x10_0000, 0x10_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_f000,
  0xffff_fffe, 0xffff_ffff,
] as const
const BOUNDS_64 = [
  0n,
  1n,
  4095n,
  4096n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 43n,
  2n ** 47n,
  2n ** 53n - 4096n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
] as const

/** Writes a payload, and fds. @returns the command */
type Request = (writer: MessageWriter, random: Random) => number

/** Usually what is right, else a number around which bounds lie. */
function u32(random: Random, usual: number): number {
  return random.once(24) ? random.pick(BOUNDS_32) : usual
}

function u64(random: Random, usual: number): number | bigint {
  return random.once(24) ? random.pick(BOUNDS_64) : usual
}

function page(random: Random): number {
  return random.below(PAGES) * PAGE
}

/** Pages of most maps. */
function size(random: Random): number {
  return random.pick([1, 1, 1, 2, 4]) * PAGE
}

/** Regions and how far into them it is worth going; the plain device has not all of them. */
const REGIONS = [
  [0, SCRATCH_SIZE],
  [0, SCRATCH_SIZE],
  [0, SCRATCH_SIZE + 0x50],
  [0, 0x1000],
  [1, 8],
  [2, 0x1_0000],
  [4, 0x8000],
  [5, 0x2000],
  [6, 0x800],
  [CONFIG, 0x100],
  [CONFIG, 0x1000],
  [9, 0x20_0000],
] as const

/** Offset, region and count of an access, which mostly lies inside. */
function access(writer: MessageWriter, random: Random, count: number): void {
  const [region, size] = random.pick(REGIONS)
  const end = random.once(16) ? size + count : Math.max(1, size - count)
  writer.u64(u64(random, random.below(end)))
  writer.u32(u32(random, region), u32(random, count))
}

function dmaMap(writer: MessageWriter, random: Random): number {
  const file = random.below(4)
  if (file === 0) {
    writer.u32(u32(random, 32), u32(random, random.below(4)))
    writer.u64(u64(random, 0), u64(random, page(random)), u64(random, size(random)))
    return wire.DMA_MAP
  }
  const kind: GiftKind = random.once(8) ? random.pick(ALL_GIFTS) : random.pick(MEMORY_GIFTS)
  writer.fds.push(kind)
  writer.u32(u32(random, 32), u32(random, random.pick([3, 3, 3, 1, 2, 0])))
  if (kind === 'huge') {
    const gib = 2 ** 30
    writer.u64(u64(random, random.below(3) * gib), u64(random, random.below(8) * gib))
    writer.u64(u64(random, random.between(1, 5) * gib))
    return wire.DMA_MAP
  }
  const length = size(random)
  const at = random.below((FILE_SIZE - length) / PAGE + 1) * PAGE
  writer.u64(u64(random, at), u64(random, page(random)), u64(random, length))
  return wire.DMA_MAP
}

function dmaUnmap(writer: MessageWriter, random: Random): number {
  switch (random.below(12)) {
    case 0: // all
      writer.u32(u32(random, 24), 2)
      writer.u64(u64(random, 0), u64(random, 0))
      break
    case 1: {
      // with the bitmap of what was written
      const length = size(random)
      writer.u32(u32(random, 48), 1)
      writer.u64(u64(random, page(random)), u64(random, length), u64(random, PAGE), u64(random, 8))
      break
    }
    default:
      writer.u32(u32(random, 24), random.once(16) ? random.below(8) : 0)
      writer.u64(u64(random, page(random)), u64(random, size(random)))
  }
  if (random.once(16)) writer.fds.push('sealed') // as SPDK does
  return wire.DMA_UNMAP
}

function getInfo(writer: MessageWriter, random: Random): number {
  writer.u32(u32(random, 16), 0, 0, 0)
  return wire.GET_INFO
}

function getRegionInfo(writer: MessageWriter, random: Random): number {
  writer.u32(u32(random, random.pick([32, 128, 256, 4064])), u32(random, 0))
  writer.u32(u32(random, random.below(11)), 0)
  writer.u64(0, 0)
  return wire.GET_REGION_INFO
}

function getRegionIoFds(writer: MessageWriter, random: Random): number {
  writer.u32(u32(random, random.pick([16, 1024, 1024])), u32(random, 0))
  writer.u32(u32(random, random.pick([0, 0, 0, 1, 9])), u32(random, 0))
  return wire.GET_REGION_IO_FDS
}

function getIrqInfo(writer: MessageWriter, random: Random): number {
  writer.u32(u32(random, 16), 0, u32(random, random.below(6)), 0)
  return wire.GET_IRQ_INFO
}

/** Indexes; those of ERR and REQ have no vectors here. */
const IRQS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4] as const

/** Gives eventfds for a run of vectors, or takes them back. */
function assignIrqs(writer: MessageWriter, random: Random): number {
  const index = random.pick(IRQS)
  const start = random.below(index === 0 ? 1 : 6)
  const count = random.between(1, random.once(8) ? 16 : 3)
  if (!random.once(4))
    for (let i = 0; i < count; i++)
      writer.fds.push(random.once(16) ? random.pick(ALL_GIFTS) : random.pick(EVENT_GIFTS))
  writer.u32(u32(random, 20), random.once(6) ? 0x14 : 0x24)
  writer.u32(u32(random, index), u32(random, start), u32(random, count))
  return wire.SET_IRQS
}

/** Disables, masks, unmasks, triggers. */
function setIrqs(writer: MessageWriter, random: Random): number {
  const type = random.pick([1, 1, 1, 2, 2, 4])
  const action = random.pick([8, 0x10, 0x20])
  const count = random.below(4)
  writer.u32(u32(random, 20), u32(random, type | action), u32(random, random.pick(IRQS)))
  writer.u32(u32(random, random.below(3)), u32(random, count))
  if (type === 2) for (let i = 0; i < count; i++) writer.u8(random.below(3))
  return wire.SET_IRQS
}

function regionRead(writer: MessageWriter, random: Random): number {
  if (random.once(2000)) {
    writer.u64(u64(random, 0))
    writer.u32(9, MAX_TRANSFER) // the largest answer that there is
    return wire.REGION_READ
  }
  access(writer, random, random.pick([1, 2, 4, 4, 4, 8, 16, 256]))
  return wire.REGION_READ
}

function regionWrite(writer: MessageWriter, random: Random): number {
  if (random.once(2000)) {
    writer.u64(u64(random, 0))
    writer.u32(9, MAX_TRANSFER)
    writer.fill(MAX_TRANSFER, random.u32())
    return wire.REGION_WRITE
  }
  const count = random.pick([1, 2, 4, 4, 4, 8, 16, 256])
  access(writer, random, count)
  writer.fill(count, random.u32())
  return wire.REGION_WRITE
}

function writeRegister(writer: MessageWriter, register: number, value: number): number {
  writer.u64(register)
  writer.u32(0, 4, value)
  return wire.REGION_WRITE
}

/** The registers that do something. */
function interrupt(writer: MessageWriter, random: Random): number {
  const register = random.pick([REGISTER.intx, REGISTER.msi, REGISTER.msix])
  return writeRegister(writer, register, random.below(22))
}

function ring(writer: MessageWriter, random: Random): number {
  const [at, width] = random.pick(DOORBELLS)
  writer.u64(at)
  writer.u32(0, width)
  writer.fill(width, random.below(8))
  return wire.REGION_WRITE
}

/** One of the four writes that a transfer takes; the others come before or after, or not. */
function programDma(writer: MessageWriter, random: Random): number {
  switch (random.below(8)) {
    case 0:
    case 1:
      return writeRegister(writer, REGISTER.iovaLow, u32(random, random.below(PAGES * PAGE)))
    case 2:
      return writeRegister(writer, REGISTER.iovaHigh, random.once(12) ? random.below(4) : 0)
    case 3: {
      const length = random.pick([4, 64, PAGE, 2 * PAGE, PAGES * PAGE])
      return writeRegister(writer, REGISTER.length, u32(random, random.below(length)))
    }
    default:
      return writeRegister(writer, REGISTER.dma, random.pick(Object.values(DMA)))
  }
}

/** Command and status, BARs, power management, Express, MSI and MSI-X control: whatever lies there. */
function writeConfig(writer: MessageWriter, random: Random): number {
  const count = random.pick([1, 2, 4])
  writer.u64(random.once(4) ? 4 : random.below(0x110))
  writer.u32(CONFIG, count)
  if (random.once(2)) writer.u32(6)
  else writer.u32(random.u32())
  writer.resize(16 + count)
  return wire.REGION_WRITE
}

function writeMulti(writer: MessageWriter, random: Random): number {
  const count = random.below(random.once(16) ? 200 : 5)
  writer.u64(u64(random, count))
  for (let i = 0; i < count; i++) {
    access(writer, random, random.between(1, 8))
    writer.u64(random.u32())
  }
  return wire.REGION_WRITE_MULTI
}

function reset(): number {
  return wire.RESET
}

function version(writer: MessageWriter, random: Random): number {
  writer.u16(random.once(8) ? random.below(3) : 0, random.below(3))
  writer.raw(Buffer.from(random.pick(PROPOSALS)))
  if (!random.once(12)) writer.u8(0)
  return wire.VERSION
}

/** What clients in use say, and what none says. */
const PROPOSALS = [
  wire.QEMU_JSON,
  wire.QEMU_JSON,
  '{"capabilities":{"max_msg_fds":8,"sparse_mmap_fds":true,"write_multiple":true,"max_data_xfer_size":4096}}',
  '{"capabilities":{"twin_socket":{"supported":true},"migration":{"pgsize":4096}}}',
  '{"capabilities":{"max_msg_fds":0,"max_data_xfer_size":0,"max_dma_maps":0,"migration":{"pgsize":8192,"max_bitmap_size":0}}}',
  '{}',
  '[]',
  '{"capabilities":[]}',
  '{"capabilities":{"max_msg_fds":-1}}',
  '{"capabilities":{"max_data_xfer_size":1e300,"pgsizes":"4096"}}',
  '{"capabilities":{"__proto__":{"write_multiple":true},"constructor":1}}',
  `{"capabilities":${'{"a":'.repeat(600)}1${'}'.repeat(600)}}`,
  `"${'x'.repeat(5000)}"`,
  '\u0000{}',
  'null',
] as const

/** States of migration, features of DMA logging. */
function feature(writer: MessageWriter, random: Random): number {
  const operation = random.pick([wire.GET, wire.SET, wire.SET, wire.PROBE | wire.GET])
  writer.u32(u32(random, 4096))
  switch (random.below(6)) {
    case 0:
      writer.u32(u32(random, operation | 1))
      break
    case 1: // the log is on
      writer.u32(wire.SET | 6)
      writer.u64(u64(random, PAGE))
      writer.u32(u32(random, 1), 0)
      writer.u64(u64(random, 0), u64(random, PAGES * PAGE))
      break
    case 2:
      writer.u32(wire.SET | 7)
      break
    case 3:
      writer.u32(wire.GET | 8)
      writer.u64(u64(random, page(random)), u64(random, size(random)), u64(random, PAGE))
      break
    default:
      writer.u32(u32(random, operation | 2), u32(random, random.pick([1, 2, 2, 2, 3, 4, 6])), 0)
  }
  return wire.DEVICE_FEATURE
}

function migDataRead(writer: MessageWriter, random: Random): number {
  const count = random.pick([0, 16, 100, 4096, MAX_TRANSFER])
  writer.u32(u32(random, 8 + count), u32(random, count))
  return wire.MIG_DATA_READ
}

/** Bytes that the state of the full device has of configuration space and of interrupts. */
const CONFIG_STATE = 4096
const IRQ_STATE = 348

/** The envelope of device-state.ts, around anything. */
function migDataWrite(writer: MessageWriter, random: Random): number {
  const { at } = writer
  writer.u32(u32(random, 4096), 0)
  if (random.once(3)) writer.fill(random.below(300), random.u32())
  else {
    writer.raw(Buffer.from('mdevkit\0'))
    writer.u32(u32(random, 1), u32(random, 3), u32(random, 6))
    writer.u32(u32(random, CONFIG_STATE), u32(random, IRQ_STATE), 0)
    writer.u64(u64(random, SCRATCH_SIZE))
    writer.raw(Buffer.from('fuzzed'))
    writer.fill(CONFIG_STATE + IRQ_STATE + SCRATCH_SIZE, random.u32())
  }
  writer.view.setUint32(at + 4, u32(random, writer.at - at - 8), true)
  return wire.MIG_DATA_WRITE
}

function unknown(writer: MessageWriter, random: Random): number {
  writer.fill(random.below(64), random.u32())
  return random.once(2) ? random.below(24) : random.below(0x1_0000)
}

/** An answer; whether it is one is up to the flags. */
function answer(writer: MessageWriter, random: Random): number {
  writer.u64(u64(random, page(random)), u64(random, 16))
  writer.fill(random.below(64), random.u32())
  return random.pick([DMA_READ, DMA_WRITE])
}

const REQUESTS: readonly (readonly [weight: number, request: Request])[] = [
  [12, dmaMap],
  [8, dmaUnmap],
  [2, getInfo],
  [5, getRegionInfo],
  [3, getRegionIoFds],
  [3, getIrqInfo],
  [8, assignIrqs],
  [6, setIrqs],
  [14, regionRead],
  [10, regionWrite],
  [6, interrupt],
  [4, ring],
  [12, programDma],
  [5, writeConfig],
  [3, writeMulti],
  [1, reset],
  [1, version],
  [2, unknown],
  [2, answer],
]
/** A stopped device takes little else, so most sessions have none of these. */
const MIGRATION: readonly (readonly [weight: number, request: Request])[] = [
  [20, feature],
  [10, migDataRead],
  [10, migDataWrite],
]

/** What one session says. Each leaves some requests out, so that the others get further. */
export class Grammar {
  readonly #random: Random
  readonly #writer: MessageWriter
  /** Each request as often as its weight. */
  readonly #requests: readonly Request[]
  #nextId = 0

  constructor(random: Random, writer: MessageWriter) {
    this.#random = random
    this.#writer = writer
    const chosen = REQUESTS.filter(() => !random.once(3))
    const used = [...chosen, ...(chosen.length === 0 || random.once(5) ? MIGRATION : [])]
    this.#requests = used.flatMap(([weight, request]) =>
      Array.from<Request>({ length: weight }).fill(request),
    )
  }

  /** Writes the next message: what its header says is true, what is in it need not be. */
  next(): Written {
    const random = this.#random
    const writer = this.#writer
    writer.begin()
    const command = random.pick(this.#requests)(writer, random)
    if (random.once(10)) this.#spoil()
    if (random.once(60)) this.#replaceFds()
    return writer.end(command, this.#id(), this.#flags(command))
  }

  /** VERSION as QEMU says it. */
  hello(): Written {
    return this.say(wire.VERSION, wire.versionPayload(wire.QEMU_JSON))
  }

  say(command: number, payload: Uint8Array): Written {
    this.#writer.begin()
    this.#writer.raw(payload)
    return this.#writer.end(command, this.#id(), 0)
  }

  #id(): number {
    this.#nextId = this.#random.once(16)
      ? this.#random.below(0x1_0000)
      : (this.#nextId + 1) & 0xffff
    return this.#nextId
  }

  #flags(command: number): number {
    const random = this.#random
    if ((command === DMA_READ || command === DMA_WRITE) && !random.once(4))
      return random.pick([REPLY, REPLY, REPLY | 0x20])
    if (random.once(100)) return random.u32()
    return random.once(6) ? wire.NO_REPLY : 0
  }

  #spoil(): void {
    const random = this.#random
    const { view, payload, length } = this.#writer
    switch (random.below(4)) {
      case 0:
        if (length >= 4)
          view.setUint32(payload + 4 * random.below(length >>> 2), random.pick(BOUNDS_32), true)
        break
      case 1:
        if (length >= 8)
          view.setBigUint64(payload + 8 * random.below(length >>> 3), random.pick(BOUNDS_64), true)
        break
      case 2:
        if (length > 0) view.setUint8(payload + random.below(length), random.u32())
        break
      default:
        this.#writer.resize(length + random.between(-40, 40))
    }
  }

  /** None, too many, or of the wrong kind. */
  #replaceFds(): void {
    const random = this.#random
    const count = random.pick([0, 1, 2, 16, 17, 20, 253])
    const kind = random.pick(ALL_GIFTS)
    this.#writer.fds = Array.from({ length: count }, () =>
      count > 20 ? kind : random.pick(ALL_GIFTS),
    )
  }
}
