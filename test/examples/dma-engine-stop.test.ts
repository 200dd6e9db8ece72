/** The DMA engine is stopped while it waits for an answer of its client, at every place where it may wait. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dmaEngine } from '../../examples/dma-engine.ts'
import {
  access,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  message,
  RawClient,
  type RawReply,
  REGION_READ,
  REGION_WRITE,
  RESET,
  u16,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { Served } from '../support/vfio-user-served.ts'
import {
  BAR,
  CONTROL,
  COPY,
  HEAD,
  INTERRUPT,
  RING,
  RUNNING,
  SIZE,
  STATUS,
  STOPPED,
  TAIL,
} from './engine-client.ts'

const CONFIG = 7
const DMA_READ = 11
const DMA_WRITE = 12
const REPLY = 1
const RING_IOVA = 0x1_0000
const [SOURCE, DESTINATION] = [0x1_1000, 0x1_2000]
const LENGTH = 8
const DESCRIPTOR = Buffer.concat([u16(COPY, 1), u32(LENGTH), u64(SOURCE, DESTINATION), u32(7, 0)])

/** What the engine asks for to do one copy, in order: command, IOVA, bytes. */
const REQUESTS = [
  [DMA_READ, RING_IOVA, 32],
  [DMA_READ, SOURCE, LENGTH],
  [DMA_WRITE, DESTINATION, LENGTH],
  [DMA_WRITE, RING_IOVA + 0x18, 4],
  [DMA_WRITE, RING_IOVA + 0x1c, 4],
] as const

async function set(client: RawClient, register: number, value: number): Promise<void> {
  assertSuccess(await client.request(REGION_WRITE, access(BAR, register, 4, u32(value))))
}

async function get(client: RawClient, register: number): Promise<number> {
  const { payload } = await client.request(REGION_READ, access(BAR, register, 4))
  return payload.readUInt32LE(16)
}

/** Attaches, with memory that the engine has to ask for, and starts it on one copy. */
async function startCopy(served: Served): Promise<RawClient> {
  const client = await RawClient.attach(served.path)
  assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: RING_IOVA, size: 0x3000 })))
  assertSuccess(await client.request(REGION_WRITE, access(CONFIG, 4, 2, u16(6)))) // bus master
  await set(client, RING, RING_IOVA)
  await set(client, SIZE, 2)
  await set(client, CONTROL, 1)
  await set(client, TAIL, 1)
  return client
}

/** Waits for what the engine asks for next. */
async function asked(client: RawClient, index: number): Promise<RawReply> {
  const request = await client.reply()
  const { command, payload } = request
  assert.deepEqual(
    [command, Number(payload.readBigUInt64LE(0)), Number(payload.readBigUInt64LE(8))],
    REQUESTS[index],
  )
  return request
}

async function answer(client: RawClient, { id, command, payload }: RawReply): Promise<void> {
  const count = Number(payload.readBigUInt64LE(8))
  const bytes = count === DESCRIPTOR.length ? DESCRIPTOR : Buffer.alloc(count)
  const data = command === DMA_READ ? bytes : Buffer.alloc(0)
  const echo = Buffer.concat([payload.subarray(0, 16), data])
  await client.send(message(command, echo, { id, flags: REPLY }))
}

test('dma-engine does a copy by as many requests as this file stops it at', async () => {
  using served = await Served.start(dmaEngine)
  using client = await startCopy(served)
  for (const index of REQUESTS.keys()) await answer(client, await asked(client, index))
  while ((await get(client, HEAD)) === 0) await client.assertAlive()
  assert.equal(await get(client, STATUS), RUNNING)
  assert.equal(await get(client, INTERRUPT), 1)
})

for (const how of ['stopped', 'reset'] as const) {
  for (const [index, [command, iova]] of REQUESTS.entries()) {
    const what = `${command === DMA_READ ? 'DMA_READ' : 'DMA_WRITE'} at 0x${iova.toString(16)}`
    test(`dma-engine, ${how} before it has the answer to ${what}, does nothing more`, async () => {
      using served = await Served.start(dmaEngine)
      using client = await startCopy(served)
      for (let earlier = 0; earlier < index; earlier++) {
        await answer(client, await asked(client, earlier))
      }
      const request = await asked(client, index)
      if (how === 'reset') {
        assertSuccess(await client.request(RESET))
        assertSuccess(await client.request(REGION_WRITE, access(CONFIG, 4, 2, u16(6))))
      } else await set(client, CONTROL, 0)
      await answer(client, request)
      // each gives the engine a turn, and finds that the next message is no request of the engine's
      for (let turn = 0; turn < 20; turn++) await client.assertAlive()
      assert.equal(await get(client, STATUS), STOPPED)
      assert.equal(await get(client, HEAD), 0)
      assert.equal(await get(client, INTERRUPT), 0)
    })
  }
}
