/** A client of examples/dma-engine.ts, with memory for it; numbers are those of its header. */
import assert from 'node:assert/strict'
import { closeSync, readSync, writeSync } from 'node:fs'
import { Client } from '../../src/vfio-user/client.ts'
import type { ClientInterrupts } from '../../src/vfio-user/client-interrupts.ts'
import { type Kind, makeBacking } from '../support/backing.ts'
import { Scratch } from '../support/scratch.ts'
import type { Served } from '../support/vfio-user-served.ts'
import { DMA_MAP, DMA_UNMAP, dmaMap, dmaUnmap } from '../support/vfio-user-raw.ts'

export const BAR = 0
export const [CONTROL, STATUS, RING, RING_HIGH] = [0x00, 0x04, 0x08, 0x0c] as const
export const [SIZE, HEAD, TAIL, INTERRUPT] = [0x10, 0x14, 0x18, 0x1c] as const
/** What STATUS says. */
export const [STOPPED, RUNNING, BAD_RING, BAD_SIZE, BAD_TAIL, RING_FAULT] = [0, 1, 2, 3, 4, 5]
export const [COPY, FILL, CHECKSUM] = [1, 2, 3] as const
/** What a descriptor's status says. */
export const [DONE, BAD_OPCODE, BAD_LENGTH, FAULT] = [1, 2, 3, 4] as const

export const MIB = 2 ** 20
export const DATA_IOVA = 2 ** 40
export const DATA_SIZE = 4 * MIB
const RING_IOVA = 2 ** 32
const CONFIG = 7
const MSIX = 2

/** How memory is backed; 'message' is without a file. */
export const MEMORIES = ['sealed memfd', 'unsealable memfd', 'message'] as const satisfies (
  | Kind
  | 'message'
)[]
type Backing = (typeof MEMORIES)[number]

export interface Descriptor {
  readonly opcode: number
  readonly length: number
  readonly source?: number
  readonly destination?: number
  readonly value?: number
}

/** Memory of the client that is mapped for the engine. */
export interface Memory {
  read(offset: number, length: number): Buffer
  write(offset: number, bytes: Uint8Array): void
  unmap(): Promise<void>
}

/** Has a ring and, apart from it, data: both mapped for the engine, which is running. */
export class EngineClient implements Disposable {
  readonly client: Client
  readonly interrupts: ClientInterrupts
  readonly #backing: Backing
  readonly #ringSize: number
  readonly #scratch = new Scratch()
  readonly #fds: number[] = []
  #ring!: Memory
  #data!: Memory
  #tail = 0

  private constructor(
    client: Client,
    interrupts: ClientInterrupts,
    backing: Backing,
    ringSize: number,
  ) {
    this.client = client
    this.interrupts = interrupts
    this.#backing = backing
    this.#ringSize = ringSize
  }

  static async attach(
    served: Served,
    backing: Backing = 'sealed memfd',
    ringSize = 16,
  ): Promise<EngineClient> {
    const client = await Client.attach(served.path)
    const engine = new EngineClient(client, await client.interrupts(MSIX), backing, ringSize)
    engine.#ring = await engine.map(RING_IOVA, 4096)
    engine.#data = await engine.map(DATA_IOVA, DATA_SIZE)
    await engine.masterBus(true)
    await engine.start()
    return engine
  }

  get data(): Memory {
    return this.#data
  }

  /** @param flags of DMA_MAP: 1 readable, 2 writable */
  async map(iova: number, size: number, flags = 3): Promise<Memory> {
    if (this.#backing === 'message') {
      const memory = await this.client.map(iova, size, { shared: false })
      return {
        read: (offset, length) => Buffer.from(memory.bytes.subarray(offset, offset + length)),
        write: (offset, bytes) => memory.bytes.set(bytes, offset),
        unmap: async () => memory.unmap(),
      }
    }
    const fd = makeBacking(this.#backing, size, this.#scratch)
    this.#fds.push(fd)
    await this.client.request(DMA_MAP, dmaMap({ flags, iova, size }), [fd])
    return {
      read: (offset, length) => {
        const bytes = Buffer.alloc(length)
        assert.equal(readSync(fd, bytes, 0, length, offset), length)
        return bytes
      },
      write: (offset, bytes) => void writeSync(fd, bytes, 0, bytes.length, offset),
      unmap: async () => void (await this.client.request(DMA_UNMAP, dmaUnmap({ iova, size }))),
    }
  }

  async masterBus(enabled: boolean): Promise<void> {
    await this.client.writeRegister(CONFIG, 4, enabled ? 0x6 : 0x2, 2) // Command; 2 is memory space
  }

  async start(): Promise<void> {
    await this.pointRing(RING_IOVA)
    await this.set(SIZE, this.#ringSize)
    await this.set(CONTROL, 1)
    assert.equal(await this.get(STATUS), RUNNING)
    this.#tail = 0
  }

  async pointRing(iova: number): Promise<void> {
    await this.set(RING, iova % 2 ** 32)
    await this.set(RING_HIGH, Math.floor(iova / 2 ** 32))
  }

  async get(register: number): Promise<number> {
    return this.client.readRegister(BAR, register, 4)
  }

  async set(register: number, value: number): Promise<void> {
    await this.client.writeRegister(BAR, register, value, 4)
  }

  /**
   * Hands descriptors to the engine.
   *
   * @param interrupting which of them interrupts, if any
   * @returns where in the ring they are
   */
  async submit(descriptors: readonly Descriptor[], interrupting?: number): Promise<number[]> {
    const slots = descriptors.map((descriptor, index) => {
      const slot = (this.#tail + index) % this.#ringSize
      this.#ring.write(slot * 32, encode(descriptor, index === interrupting))
      return slot
    })
    this.#tail = (this.#tail + descriptors.length) % this.#ringSize
    await this.set(TAIL, this.#tail)
    return slots
  }

  /** Hands descriptors to the engine and waits for the last. @returns value and status of each */
  async run(...descriptors: readonly Descriptor[]): Promise<[number, number][]> {
    const slots = await this.submit(descriptors, descriptors.length - 1)
    await this.interrupts.next()
    return slots.map((slot) => this.result(slot))
  }

  /** @returns value and status of a descriptor */
  result(slot: number): [number, number] {
    const bytes = this.#ring.read(slot * 32, 32)
    return [bytes.readUInt32LE(24), bytes.readUInt32LE(28)]
  }

  [Symbol.dispose](): void {
    this.client.detach()
    for (const fd of this.#fds) closeSync(fd)
    this.#scratch[Symbol.dispose]()
  }
}

function encode(descriptor: Descriptor, interrupt: boolean): Buffer {
  const { opcode, length, source = 0, destination = 0, value = 0 } = descriptor
  const bytes = Buffer.alloc(32)
  bytes.writeUInt16LE(opcode, 0)
  bytes.writeUInt16LE(interrupt ? 1 : 0, 2)
  bytes.writeUInt32LE(length, 4)
  bytes.writeBigUInt64LE(BigInt(source), 8)
  bytes.writeBigUInt64LE(BigInt(destination), 16)
  bytes.writeUInt32LE(value, 24)
  return bytes
}
