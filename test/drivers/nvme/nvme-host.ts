/** A host of an NVMe controller, through mdevkit's own client: memory, queues and commands. Numbers are the specification's. */
import assert from 'node:assert/strict'
import { nvmeFunction, type FunctionOptions } from '../../../drivers/nvme/function.ts'
import type { Clock } from '../../../src/lib/clock.ts'
import { defineDriver } from '../../../src/mdev/driver.ts'
import { Client, type ClientInterrupts, type ClientMemory } from '../../../src/vfio-user/client.ts'
import { until } from '../../support/until.ts'
import { Served } from '../../support/vfio-user-served.ts'
import { MemorySlice } from './memory-slice.ts'

const BAR = 0
const CONFIG = 7
const MSIX = 2
export const PAGE = 4096
export const MIB = 2 ** 20

// 3.1, register map
export const CAP = 0x00
export const VS = 0x08
export const INTMS = 0x0c
export const INTMC = 0x10
export const CC = 0x14
export const CSTS = 0x1c
export const AQA = 0x24
export const ASQ = 0x28
export const ACQ = 0x30
const DOORBELLS = 0x1000
/** CC as Linux writes it: enabled, entries of 64 and 16 bytes. */
export const CC_ENABLE = 0x0046_0001
export const RDY = 1
export const CFS = 2

/** Where the host's memory is, for the controller. */
export const MEMORY = 2 ** 32
const MEMORY_SIZE = 16 * MIB

/** A command: dwords that are not given are 0. */
export interface Sqe {
  readonly opcode: number
  /** FUSE and PSDT. */
  readonly flags?: number
  readonly nsid?: number
  readonly prp1?: number
  readonly prp2?: number
  /** Instead of PRPs. */
  readonly sgl?: Uint8Array
  readonly cdw10?: number
  readonly cdw11?: number
  readonly cdw12?: number
  readonly cdw13?: number
}

export interface Cqe {
  readonly result: number
  readonly head: number
  readonly queue: number
  readonly id: number
  /** Status Code Type and Status Code. */
  readonly status: number
  readonly doNotRetry: boolean
}

/** A pair of queues, of the same id. */
export class QueuePair {
  readonly id: number
  /** Entries of each. */
  readonly size: number
  readonly completions: number
  /** Where they are. */
  readonly submission: number
  readonly completion: number
  tail = 0
  head = 0
  phase = 1
  nextId = 1
  readonly waiting = new Map<number, (cqe: Cqe) => void>()

  constructor(id: number, [size, completions]: readonly [number, number], host: NvmeHost) {
    this.id = id
    this.size = size
    this.completions = completions
    this.submission = host.allocate(size * 64)
    this.completion = host.allocate(completions * 16)
  }
}

export interface StageOptions extends Partial<FunctionOptions> {
  /** By which the host gives up waiting; the machine's unless given. */
  readonly patience?: Clock
  readonly size?: number
  readonly readOnly?: boolean
}

/** A controller on a slice in memory, served. */
export class Stage implements Disposable {
  readonly served: Served
  readonly slice: MemorySlice

  private constructor(served: Served, slice: MemorySlice) {
    this.served = served
    this.slice = slice
  }

  static async start(options: StageOptions = {}): Promise<Stage> {
    const { size = 4 * MIB, readOnly = false, patience, ...rest } = options
    let slice: MemorySlice | undefined
    const driver = defineDriver({
      name: 'nvme-test',
      types: { 1: {} },
      probe: (mdev) =>
        nvmeFunction(mdev, { serial: 'S1', blockSize: 512, queues: 4, ...rest }, ({ onBatch }) => {
          const limits = { bandwidth: 0, iops: 0 }
          slice = new MemorySlice({ dma: mdev.dma, size, readOnly, limits, onBatch })
          return slice
        }),
    })
    const served = await Served.start(driver, '1', patience)
    return new Stage(served, slice!)
  }

  [Symbol.dispose](): void {
    this.slice.free()
    this.served[Symbol.dispose]()
  }
}

/** How the host's memory reaches the controller. */
export const MEMORIES = ['shared', 'message'] as const

export interface ReadyOptions {
  readonly memory?: (typeof MEMORIES)[number]
  /** Pairs of I/O queues. */
  readonly pairs?: number
  /** Entries of each. */
  readonly entries?: number
}

export class NvmeHost implements Disposable {
  readonly client: Client
  readonly memory: ClientMemory
  readonly interrupts: ClientInterrupts
  readonly view: DataView
  admin!: QueuePair
  readonly queues = new Map<number, QueuePair>()
  /** Pages for doorbells of I/O queues, once they are in memory: values, and event indexes. */
  shadows: { readonly values: number; readonly events: number } | undefined
  /** Doorbells that were written to registers. */
  rings = 0
  /** Those whose completions are taken by the test alone. */
  readonly held = new Set<QueuePair>()
  #next = MEMORY

  private constructor(client: Client, memory: ClientMemory, interrupts: ClientInterrupts) {
    this.client = client
    this.memory = memory
    this.interrupts = interrupts
    this.view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, MEMORY_SIZE)
  }

  static async attach(
    stage: Pick<Stage, 'served'>,
    memory: (typeof MEMORIES)[number] = 'shared',
  ): Promise<NvmeHost> {
    const client = await Client.attach(stage.served.path)
    const interrupts = await client.interrupts(MSIX, (await client.irqInfo(MSIX)).count)
    const shared = memory === 'shared'
    const host = new NvmeHost(client, await client.map(MEMORY, MEMORY_SIZE, { shared }), interrupts)
    for (let i = 0; i < interrupts.count; i++)
      interrupts.vector(i).onInterrupt(() => {
        for (const queue of host.queues.values()) if (!host.held.has(queue)) host.reap(queue)
      })
    await host.masterBus(true)
    return host
  }

  /** A controller that is enabled, and pairs of I/O queues. */
  static async ready(
    stage: Pick<Stage, 'served'>,
    { memory = 'shared', pairs = 1, entries = 64 }: ReadyOptions = {},
  ): Promise<NvmeHost> {
    const host = await NvmeHost.attach(stage, memory)
    await host.enable()
    for (let id = 1; id <= pairs; id++) await host.createPair(id, entries)
    return host
  }

  async masterBus(enabled: boolean): Promise<void> {
    await this.client.writeRegister(CONFIG, 4, enabled ? 0x6 : 0x2, 2) // Command; 2 is memory space
  }

  async get(register: number): Promise<number> {
    return this.client.readRegister(BAR, register, 4)
  }

  async set(register: number, value: number): Promise<void> {
    await this.client.writeRegister(BAR, register, value, 4)
  }

  async set64(register: number, value: number): Promise<void> {
    await this.client.region(BAR).writeU64(register, BigInt(value))
  }

  /** Takes pages of zeros. */
  allocate(length = PAGE): number {
    const at = this.#next
    this.#next += Math.ceil(length / PAGE) * PAGE
    assert.ok(this.#next <= MEMORY + MEMORY_SIZE, 'the host has no more memory')
    return at
  }

  /** Bytes of the host's memory, where the controller finds them. */
  bytes(iova: number, length: number): Uint8Array {
    return this.memory.bytes.subarray(iova - MEMORY, iova - MEMORY + length)
  }

  /** Waits until some of CSTS is as expected. */
  async status(mask: number, value: number): Promise<void> {
    await until(
      async () => {
        const status = await this.get(CSTS)
        assert.equal(status & mask, value, `CSTS is ${status}, with the mask ${mask}`)
      },
      '',
      { pauseMs: 0 },
    )
  }

  /** Waits until the controller has done something, with questions that it has to answer. */
  async until(condition: () => boolean, expected: string): Promise<void> {
    const look = async () => {
      await this.get(CSTS)
      return condition()
    }
    await until(look, expected, { pauseMs: 0 })
  }

  /** Enables the controller as Linux does (nvme_pci_configure_admin_queue), with queues of 32 entries. */
  async enable(entries = 32): Promise<void> {
    await this.disable()
    this.#next = MEMORY
    this.memory.bytes.fill(0)
    this.shadows = undefined
    this.admin = new QueuePair(0, [entries, entries], this)
    this.queues.clear()
    this.queues.set(0, this.admin)
    await this.set(AQA, (entries - 1) * 0x1_0001)
    await this.set64(ASQ, this.admin.submission)
    await this.set64(ACQ, this.admin.completion)
    await this.set(CC, CC_ENABLE)
    await this.status(RDY, RDY)
  }

  async disable(): Promise<void> {
    await this.set(CC, 0)
    await this.status(RDY, 0)
    for (const queue of this.queues.values()) queue.waiting.clear()
  }

  /** Creates both queues of an id, with that vector. */
  async createPair(id: number, entries: number, completions = entries): Promise<QueuePair> {
    const pair = new QueuePair(id, [entries, completions], this)
    await this.command({
      opcode: 0x05,
      prp1: pair.completion,
      cdw10: (completions - 1) * 0x1_0000 + id,
      cdw11: id * 0x1_0000 + 3,
    })
    await this.command({
      opcode: 0x01,
      prp1: pair.submission,
      cdw10: (entries - 1) * 0x1_0000 + id,
      cdw11: id * 0x1_0000 + 1,
    })
    this.queues.set(id, pair)
    return pair
  }

  queue(id: number): QueuePair {
    const pair = this.queues.get(id)
    assert.ok(pair, `queue ${id}`)
    return pair
  }

  /** Puts a command into a queue, and does not ring. @returns its id */
  put(queue: QueuePair, sqe: Sqe): number {
    const id = queue.nextId
    queue.nextId = (id % 0xfff0) + 1
    const { view } = this
    const at = queue.submission + queue.tail * 64 - MEMORY
    this.memory.bytes.fill(0, at, at + 64)
    view.setUint8(at, sqe.opcode)
    view.setUint8(at + 1, sqe.flags ?? 0)
    view.setUint16(at + 2, id, true)
    view.setUint32(at + 4, sqe.nsid ?? 0, true)
    view.setBigUint64(at + 24, BigInt(sqe.prp1 ?? 0), true)
    view.setBigUint64(at + 32, BigInt(sqe.prp2 ?? 0), true)
    if (sqe.sgl !== undefined) this.memory.bytes.set(sqe.sgl, at + 24)
    view.setUint32(at + 40, sqe.cdw10 ?? 0, true)
    view.setUint32(at + 44, sqe.cdw11 ?? 0, true)
    view.setUint32(at + 48, sqe.cdw12 ?? 0, true)
    view.setUint32(at + 52, sqe.cdw13 ?? 0, true)
    queue.tail = (queue.tail + 1) % queue.size
    return id
  }

  /** The tail doorbell. */
  ring(queue: QueuePair, tail = queue.tail): void {
    this.ringAt(2 * queue.id, tail)
  }

  /** @param number of the doorbell, counted from the tail of submission queue 0 */
  ringAt(number: number, value: number): void {
    if (this.shadows !== undefined && number >= 2 && !this.#mustRing(number, value)) return
    this.rings++
    this.client.region(BAR).postU32(DOORBELLS + 4 * number, value)
  }

  /** Stores a doorbell in memory. @returns whether the register is to be written, as Linux has it (nvme_dbbuf_need_event) */
  #mustRing(number: number, value: number): boolean {
    const { values, events } = this.shadows!
    const at = values + 4 * number - MEMORY
    const old = this.view.getUint32(at, true)
    this.view.setUint32(at, value, true)
    const event = this.view.getUint32(events + 4 * number - MEMORY, true)
    return ((value - event - 1) & 0xffff) < ((value - old) & 0xffff)
  }

  /** Puts the doorbells of I/O queues into memory. */
  async shadow(): Promise<void> {
    const pages = { values: this.allocate(), events: this.allocate() }
    await this.command({ opcode: 0x7c, prp1: pages.values, prp2: pages.events })
    this.shadows = pages
  }

  /** Runs commands in a queue. @returns their completions, in the same order */
  async run(queue: QueuePair, ...sqes: readonly Sqe[]): Promise<Cqe[]> {
    const ends = this.begin(queue, ...sqes)
    return Promise.all(ends)
  }

  /** As {@link run}, without waiting. */
  begin(queue: QueuePair, ...sqes: readonly Sqe[]): Promise<Cqe>[] {
    const ends = sqes.map(async (sqe) => {
      const id = this.put(queue, sqe)
      return new Promise<Cqe>((resolve) => queue.waiting.set(id, resolve))
    })
    this.ring(queue)
    return ends
  }

  /** Runs an admin command. */
  async try(sqe: Sqe): Promise<Cqe> {
    const [cqe] = await this.run(this.admin, sqe)
    return cqe!
  }

  /** Runs an admin command that is to succeed. */
  async command(sqe: Sqe): Promise<Cqe> {
    const cqe = await this.try(sqe)
    assert.equal(cqe.status, 0, `opcode ${sqe.opcode}: status 0x${cqe.status.toString(16)}`)
    return cqe
  }

  /** Runs an I/O command in queue 1. */
  async io(sqe: Sqe): Promise<Cqe> {
    const [cqe] = await this.run(this.queue(1), { nsid: 1, ...sqe })
    return cqe!
  }

  /** How many completions are there. */
  unread(queue: QueuePair): number {
    for (let count = 0, { phase } = queue; ; count++) {
      const index = (queue.head + count) % queue.completions
      if (count > 0 && index === 0) phase ^= 1
      const status = this.view.getUint16(queue.completion + index * 16 + 14 - MEMORY, true)
      if ((status & 1) !== phase) return count
    }
  }

  /** Takes completions that are there. @param acknowledged whether the head doorbell is written */
  reap(queue: QueuePair, acknowledged = true): Cqe[] {
    const found: Cqe[] = []
    for (;;) {
      const at = queue.completion + queue.head * 16 - MEMORY
      const status = this.view.getUint16(at + 14, true)
      if ((status & 1) !== queue.phase) break
      found.push({
        result: this.view.getUint32(at, true),
        head: this.view.getUint16(at + 8, true),
        queue: this.view.getUint16(at + 10, true),
        id: this.view.getUint16(at + 12, true),
        status: (status >> 1) & 0x7ff,
        doNotRetry: (status & 0x8000) !== 0,
      })
      queue.head = (queue.head + 1) % queue.completions
      if (queue.head === 0) queue.phase ^= 1
    }
    if (found.length > 0 && acknowledged) this.ringAt(2 * queue.id + 1, queue.head)
    for (const cqe of found) {
      queue.waiting.get(cqe.id)?.(cqe)
      queue.waiting.delete(cqe.id)
    }
    return found
  }

  [Symbol.dispose](): void {
    this.client.detach()
  }
}

/** An SGL descriptor. @param type 0 data block, 2 segment, 3 last segment */
export function sgl(type: number, iova: number, length: number, subtype = 0): Uint8Array {
  const bytes = Buffer.alloc(16)
  bytes.writeBigUInt64LE(BigInt(iova), 0)
  bytes.writeUInt32LE(length, 8)
  bytes.writeUInt8(type * 16 + subtype, 15)
  return bytes
}

/** Bytes that tell where they come from. */
export function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 9) * 13 + seed) % 251)
}
