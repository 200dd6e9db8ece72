/** A client that behaves, on a device of its own beside those that are fuzzed: whatever they suffer, it is served correctly. */
import assert from 'node:assert/strict'
import { readSync } from 'node:fs'
import { closeFd } from '../../src/os/fd.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { DEVICE, DMA, REGISTER, VENDOR } from './fuzz-device.ts'
import * as wire from './vfio-user-raw.ts'

const SIZE = 0x1_0000
/** Visits between two attachments. */
const VISITS = 20
const PAUSE_MS = 100

export class PoliteClient {
  readonly #path: string
  /** Visits so far, each of which found everything right. */
  visits = 0
  /** The longest that one took. */
  longestMs = 0
  #stopping = false

  constructor(path: string) {
    this.#path = path
  }

  /** Uses the device until it is told to stop. @throws what was wrong */
  async run(): Promise<void> {
    this.#stopping = false
    while (!this.#stopping) await this.attachment(VISITS)
  }

  stop(): void {
    this.#stopping = true
  }

  /** Comes, uses the device so often, and goes. */
  async attachment(visits: number): Promise<void> {
    const memory = createMemfd('polite', SIZE)
    try {
      using client = await wire.RawClient.attach(this.#path)
      await set(client, wire.DMA_MAP, wire.dmaMap({ iova: SIZE, size: SIZE }), [memory])
      await set(client, wire.REGION_WRITE, wire.access(7, 4, 2, wire.u16(6)))
      for (let i = 0; i < visits && !this.#stopping; i++) {
        const began = performance.now()
        await visit(client, memory, this.visits)
        this.longestMs = Math.max(this.longestMs, performance.now() - began)
        this.visits++
        if (i < visits - 1) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      }
      await set(client, wire.DMA_UNMAP, wire.dmaUnmap({ iova: SIZE, size: SIZE }))
    } finally {
      closeFd(memory)
    }
  }
}

/** One of everything: info, identity, registers, and a transfer into our memory. */
async function visit(client: wire.RawClient, memory: number, number: number): Promise<void> {
  const ids = await client.request(wire.REGION_READ, wire.access(7, 0, 4))
  assert.deepEqual(ids.payload.subarray(16), wire.u16(VENDOR, DEVICE))
  const value = wire.u32((number * 0x9e37_79b1) >>> 0)
  await set(client, wire.REGION_WRITE, wire.access(0, 0x20, 4, value))
  const read = await client.request(wire.REGION_READ, wire.access(0, 0x20, 4))
  assert.deepEqual(read.payload.subarray(16), value)
  const length = 0x100 * (1 + (number % 16))
  for (const [register, word] of [
    [REGISTER.iovaLow, SIZE],
    [REGISTER.length, length],
    [REGISTER.dma, DMA.write],
  ] as const) {
    await set(client, wire.REGION_WRITE, wire.access(0, register, 4, wire.u32(word)))
  }
  const written = Buffer.alloc(4)
  readSync(memory, written, 0, 4, length - 0x100 + 0x20)
  assert.deepEqual(written, value)
}

async function set(
  client: wire.RawClient,
  command: number,
  payload: Uint8Array,
  fds: readonly number[] = [],
): Promise<void> {
  wire.assertSuccess(await client.request(command, payload, { fds }))
}
