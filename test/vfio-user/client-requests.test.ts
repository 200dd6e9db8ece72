/** Requests to a client that answers well, out of order, late, wrongly, or never; vfio-user.md sections 2 and 12. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientRequests } from '../../src/vfio-user/client-requests.ts'
import { encodeMessage, Message } from '../../src/vfio-user/frame.ts'

const DMA_READ = 11
const DMA_WRITE = 12
const REPLY = 1
const ERROR = 0x20

/** A client's end: what it was asked, and ways to answer. */
class Peer {
  readonly sent: Buffer[] = []
  readonly requests: ClientRequests

  constructor({ maxTransfer = 4096, timeoutMs = 60_000 } = {}) {
    this.requests = new ClientRequests({
      send: (header, payload) => this.sent.push(Buffer.from(encodeMessage(header, payload))),
      maxTransfer: () => maxTransfer,
      timeoutMs,
    })
  }

  /** What was asked: command, iova and count of each. */
  get asked(): number[][] {
    return this.sent.map((m) => [
      m.readUInt16LE(2),
      Number(m.readBigUInt64LE(16)),
      Number(m.readBigUInt64LE(24)),
    ])
  }

  id(index: number): number {
    return this.sent[index]?.readUInt16LE(0) ?? -1
  }

  answer(
    id: number,
    command: number,
    payload: Uint8Array,
    { flags = REPLY, error = 0 } = {},
  ): boolean {
    const message = new Message()
    const bytes = Uint8Array.from([...Buffer.alloc(16), ...payload])
    Object.assign(message, {
      bytes,
      view: new DataView(bytes.buffer),
      at: 16,
      length: payload.length,
    })
    Object.assign(message, { id, command, flags, error })
    return this.requests.settle(message)
  }

  /** Answers the read that was sent as the `index`th. */
  data(index: number, fill: number): boolean {
    const count = this.asked[index]?.[2] ?? 0
    return this.answer(
      this.id(index),
      DMA_READ,
      Buffer.concat([Buffer.alloc(16), Buffer.alloc(count, fill)]),
    )
  }
}

test('ClientRequests.read() sends literal bytes and takes what comes back', async () => {
  const peer = new Peer()
  const target = new Uint8Array(8)
  const done = peer.requests.read(0x100000, target)
  // vfio-user.md section 20, with our first id
  assert.equal(
    peer.sent[0]?.toString('hex'),
    '01000b0020000000000000000000000000001000000000000800000000000000',
  )
  assert.equal(
    peer.answer(
      1,
      DMA_READ,
      Buffer.from('0000100000000000080000000000000001080f161d242b32', 'hex'),
    ),
    true,
  )
  await done
  assert.equal(Buffer.from(target).toString('hex'), '01080f161d242b32')
  assert.equal(peer.requests.outstanding, 0)
})

test('ClientRequests.write() sends the data as it is at the call', async () => {
  const peer = new Peer()
  const source = Buffer.from('abcd')
  const done = peer.requests.write(0x2000, source)
  source.fill(0)
  assert.equal(peer.sent[0]?.subarray(32).toString(), 'abcd')
  assert.equal(peer.sent[0]?.readUInt32LE(4), 36)
  peer.answer(peer.id(0), DMA_WRITE, new Uint8Array(0)) // header only, as older texts have it
  await done
})

test('a transfer is cut to the negotiated size, and its parts may be answered in any order', async () => {
  const peer = new Peer({ maxTransfer: 4 })
  const target = new Uint8Array(10)
  const done = peer.requests.read(100, target)
  assert.deepEqual(peer.asked, [
    [DMA_READ, 100, 4],
    [DMA_READ, 104, 4],
    [DMA_READ, 108, 2],
  ])
  for (const index of [2, 0, 1]) peer.data(index, index + 1)
  await done
  assert.deepEqual([...target], [1, 1, 1, 1, 2, 2, 2, 2, 3, 3])
})

test('a read is cut to what QEMU can answer in one piece; a write is not', async () => {
  const peer = new Peer({ maxTransfer: 2 ** 20 })
  const reading = peer.requests.read(0, new Uint8Array(2 * 32_768 + 1))
  const writing = peer.requests.write(0, new Uint8Array(2 ** 20))
  assert.deepEqual(peer.asked, [
    [DMA_READ, 0, 32_768],
    [DMA_READ, 32_768, 32_768],
    [DMA_READ, 65_536, 1],
    [DMA_WRITE, 0, 2 ** 20],
  ])
  peer.requests.close()
  await assert.rejects(reading, { code: 'ECONNRESET' })
  await assert.rejects(writing, { code: 'ECONNRESET' })
})

test('at most 64 requests are under way; the others follow as answers come', async () => {
  const peer = new Peer({ maxTransfer: 1 })
  const done = peer.requests.read(0, new Uint8Array(100))
  assert.equal(peer.sent.length, 64)
  for (let index = 0; index < 100; index++) peer.data(index, 7)
  await done
  assert.equal(peer.sent.length, 100)
})

test('a refusal has the errno of the client, and EIO when that is none', async () => {
  for (const [error, code] of [
    [19, 'ENODEV'],
    [0, 'EIO'],
    [5000, 'EIO'],
  ] as const) {
    const peer = new Peer()
    const done = peer.requests.read(0, new Uint8Array(4))
    peer.answer(peer.id(0), DMA_READ, new Uint8Array(0), { flags: REPLY | ERROR, error })
    await assert.rejects(done, { code })
  }
})

test('a read that brings back too little is EPROTO', async () => {
  const peer = new Peer()
  const done = peer.requests.read(0, new Uint8Array(4))
  peer.answer(peer.id(0), DMA_READ, new Uint8Array(3))
  await assert.rejects(done, { code: 'EPROTO' })
})

test('a reply to nothing that was asked, or of another command, settles nothing', async () => {
  const peer = new Peer()
  assert.equal(peer.data(0, 1), false)
  const done = peer.requests.read(0, new Uint8Array(4))
  assert.equal(peer.answer(peer.id(0), DMA_WRITE, new Uint8Array(16)), false)
  assert.equal(peer.requests.outstanding, 1)
  peer.data(0, 1)
  assert.equal(peer.data(0, 1), false, 'a second time')
  await done
})

test('a request without an answer is ETIMEDOUT, and its late answer is nobody’s', async () => {
  const peer = new Peer({ timeoutMs: 1 })
  await assert.rejects(peer.requests.read(0, new Uint8Array(4)), { code: 'ETIMEDOUT' })
  const target = new Uint8Array(4)
  const next = peer.requests.read(0, target)
  assert.equal(peer.data(0, 9), true, 'known, and dropped')
  assert.notEqual(peer.id(1), peer.id(0))
  peer.data(1, 5)
  await next
  assert.deepEqual([...target], [5, 5, 5, 5])
})

test('close() rejects what is under way, what waits, and what comes later', async () => {
  const peer = new Peer({ maxTransfer: 1 })
  const done = peer.requests.read(0, new Uint8Array(100))
  peer.requests.close()
  await assert.rejects(done, { code: 'ECONNRESET' })
  await assert.rejects(peer.requests.write(0, new Uint8Array(1)), { code: 'ECONNRESET' })
  assert.equal(peer.requests.outstanding, 0)
})

test('a client that takes no data at all is EOPNOTSUPP', async () => {
  const peer = new Peer({ maxTransfer: 0 })
  await assert.rejects(peer.requests.read(0, new Uint8Array(1)), { code: 'EOPNOTSUPP' })
})
