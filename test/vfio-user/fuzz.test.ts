/** Hostile clients by the thousand: whatever they say, the server answers or closes, leaks nothing, and serves the next. */
import assert from 'node:assert/strict'
import { ftruncateSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { EventFd } from '../../src/os/eventfd.ts'
import {
  Fds,
  makeBlockingEventfd,
  makeMemfd,
  makePipe,
  MFD_ALLOW_SEALING,
  openFds,
} from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import {
  access,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  GET_INFO,
  GET_IRQ_INFO,
  GET_REGION_INFO,
  irqSet,
  message,
  NO_REPLY,
  QEMU_JSON,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  REGION_WRITE_MULTI,
  RESET,
  SET_IRQS,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

interface Said {
  readonly command: number
  readonly payload: Buffer
  readonly id: number
  readonly flags: number
  /** Which of the fds at hand go along. */
  readonly fds: readonly number[]
  /** Where the message is cut, as shares of its length. */
  readonly cuts: readonly number[]
}

const REPLY = 1
const TYPE = 0xf

/** Numbers around which bounds lie. */
const u32s = fc.oneof(
  { weight: 6, arbitrary: fc.nat(10) },
  { weight: 2, arbitrary: fc.constantFrom(16, 20, 24, 32, 0x100, 0x1000, 0x2000, 0x100000) },
  { weight: 1, arbitrary: fc.constantFrom(0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff) },
)
const u64s = fc.oneof(
  { weight: 6, arbitrary: fc.nat(8).map((page) => BigInt(page * 0x1000)) },
  { weight: 3, arbitrary: fc.nat(0x1010).map(BigInt) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      2n ** 32n,
      2n ** 53n - 4096n,
      2n ** 53n,
      2n ** 63n,
      2n ** 64n - 4096n,
    ),
  },
)
const argsz = fc.oneof({ weight: 9, arbitrary: fc.constant(64) }, { weight: 1, arbitrary: u32s })
const data = fc
  .oneof(
    { weight: 20, arbitrary: fc.nat(16) },
    { weight: 1, arbitrary: fc.constantFrom(4096, 20_000, 70_000) },
  )
  .map((length) => Buffer.alloc(length, 0xa5))

type Request = readonly [command: number, payload: Buffer, fds?: readonly number[]]

const pages = fc.nat(6).map((page) => BigInt(page * 0x1000))
const places = fc.oneof({ weight: 4, arbitrary: pages }, { weight: 1, arbitrary: u64s })
const offsets = fc.oneof(
  { weight: 4, arbitrary: fc.nat(0x120).map(BigInt) },
  { weight: 1, arbitrary: u64s },
)
const counts = fc.oneof({ weight: 4, arbitrary: fc.nat(9) }, { weight: 1, arbitrary: u32s })
const existing = fc.constantFrom(0, 0, 0, 1, 2, 4, 6, 7)
const regions = fc.oneof({ weight: 6, arbitrary: existing }, { weight: 1, arbitrary: u32s })

/** Requests that mean something; what is refused depends on what came before. */
const requests: fc.Arbitrary<Request> = fc.oneof(
  fc
    .tuple(
      fc.record({ argsz, flags: fc.nat(4), offset: pages, iova: places, size: places }),
      fc.constantFrom([], [0], [1]),
    )
    .map(([fields, given]): Request => [DMA_MAP, dmaMap(fields), given]),
  fc
    .record({ argsz, flags: fc.constantFrom(0, 0, 0, 1, 3), iova: places, size: places })
    .map((fields): Request => [DMA_UNMAP, dmaUnmap(fields)]),
  argsz.map((size): Request => [DMA_UNMAP, dmaUnmap({ argsz: size, flags: 2, size: 0 })]),
  argsz.map((size): Request => [GET_INFO, u32(size, 0, 0, 0)]),
  fc
    .tuple(argsz, regions)
    .map(([size, index]): Request => [
      GET_REGION_INFO,
      Buffer.concat([u32(size, 0, index, 0), u64(0, 0)]),
    ]),
  fc.tuple(argsz, u32s).map(([size, index]): Request => [GET_IRQ_INFO, u32(size, 0, index, 0)]),
  // eventfds for a run of vectors
  fc
    .tuple(fc.nat(4), fc.nat(6), fc.array(fc.constantFrom(2, 3), { maxLength: 16 }))
    .map(([index, start, given]): Request => [
      SET_IRQS,
      irqSet(0x24, index, start, Math.max(1, given.length)),
      given,
    ]),
  // the resample eventfd of INTx
  fc.constantFrom([], [2], [3]).map((given): Request => [SET_IRQS, irqSet(0x14, 0, 0, 1), given]),
  fc
    .tuple(fc.constantFrom(1, 2, 4), fc.constantFrom(8, 0x10, 0x20), fc.nat(5), counts, counts)
    .map(([type, action, index, start, count]): Request => [
      SET_IRQS,
      irqSet(type | action, index, start, count, type === 2 ? Array(count & 0xff).fill(1) : []),
    ]),
  fc
    .tuple(regions, offsets, counts)
    .map(([region, offset, count]): Request => [REGION_READ, access(region, offset, count)]),
  fc
    .tuple(regions, offsets, data)
    .map(([region, offset, bytes]): Request => [
      REGION_WRITE,
      access(region, offset, bytes.length, bytes),
    ]),
  // the registers that interrupt
  fc
    .tuple(fc.constantFrom(0x10c, 0x110, 0x114), fc.nat(20))
    .map(([at, value]): Request => [REGION_WRITE, access(0, at, 4, u32(value))]),
  fc
    .array(fc.tuple(offsets, regions, counts), { maxLength: 5 })
    .map((entries): Request => [
      REGION_WRITE_MULTI,
      Buffer.concat([
        u64(entries.length),
        ...entries.map(([at, region, count]) =>
          Buffer.concat([u64(at), u32(region, count), u64(7)]),
        ),
      ]),
    ]),
  fc.constant<Request>([RESET, Buffer.alloc(0)]),
  fc.constant<Request>([VERSION, versionPayload(QEMU_JSON)]),
  fc
    .tuple(fc.integer({ min: 0, max: 0xffff }), fc.uint8Array({ maxLength: 64 }))
    .map(([command, bytes]): Request => [command, Buffer.from(bytes)]),
)

/** Nothing most of the time; else bytes changed, cut off or added. */
const mutations: fc.Arbitrary<(payload: Buffer) => Buffer> = fc.oneof(
  { weight: 8, arbitrary: fc.constant((payload: Buffer) => payload) },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.tuple(fc.nat(63), fc.integer({ min: 0, max: 255 })), { maxLength: 4 })
      .map((changes) => (payload: Buffer) => {
        const changed = Buffer.from(payload)
        for (const [at, byte] of changes) if (at < changed.length) changed[at] = byte
        return changed
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .integer({ min: -40, max: 40 })
      .map(
        (by) => (payload: Buffer) =>
          by < 0
            ? payload.subarray(0, Math.max(0, payload.length + by))
            : Buffer.concat([payload, Buffer.alloc(by)]),
      ),
  },
)

const flags = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.constant(NO_REPLY) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffffffff }) },
)

const messages: fc.Arbitrary<Said> = fc
  .record({
    request: requests,
    mutate: mutations,
    id: fc.integer({ min: 0, max: 0xffff }),
    flags,
    // other fds than the request is for, or none
    others: fc.oneof(
      { weight: 10, arbitrary: fc.constant(undefined) },
      { weight: 2, arbitrary: fc.array(fc.nat(4), { maxLength: 4 }) },
      { weight: 1, arbitrary: fc.array(fc.nat(4), { minLength: 15, maxLength: 20 }) },
    ),
    cuts: fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
      },
    ),
  })
  .map(({ request: [command, payload, given = []], mutate, id, flags, others = given, cuts }) => ({
    command,
    payload: mutate(payload),
    id,
    flags,
    fds: others,
    cuts,
  }))

let served: Served
let fds: Fds
/** One of every kind, to be given along. */
let gifts: readonly number[]
before(async () => {
  ;({ served } = await serveTestDevice())
  fds = new Fds()
  const memory = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(memory, 0x8000)
  const shrinking = fds.own(makeMemfd(0))
  ftruncateSync(shrinking, 0x8000)
  const [reader, writer] = makePipe()
  fds.own(reader)
  gifts = [
    memory,
    shrinking,
    fds.own(EventFd.create().fd),
    fds.own(makeBlockingEventfd()),
    fds.own(writer),
  ]
})
after(() => {
  fds[Symbol.dispose]()
  served[Symbol.dispose]()
})

/** Sends a message in its pieces, fds with the first. */
async function say(client: RawClient, said: Said): Promise<void> {
  const bytes = message(said.command, said.payload, said)
  const cuts = said.cuts.map((share) => Math.round(share * bytes.length))
  const bounds = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
  const given = said.fds.map((i) => gifts[i] ?? -1)
  let first = true
  for (const [i, start] of bounds.entries()) {
    const part = bytes.subarray(start, bounds[i + 1])
    if (part.length === 0) continue
    await client.send(part, first ? given : [])
    if (i < cuts.length) await client.received()
    first = false
  }
}

/** Runs a client, then checks that it has left nothing: no fd, no mapping, no user. */
async function assertLeavesNothing(body: (client: RawClient) => Promise<void>): Promise<void> {
  const before = openFds()
  const detached = served.detached()
  {
    using client = RawClient.connect(served.path)
    await body(client)
  }
  await detached
  assert.deepEqual(openFds(), before)
  assert.deepEqual(resourcesOf().shared, [])
}

describe('fuzz', () => {
  test('well-framed messages: each is answered or not as it asks, in order, and nobody is cut off', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(messages, { minLength: 1, maxLength: 30, size: 'max' }),
        async (all) => {
          await assertLeavesNothing(async (client) => {
            await client.request(VERSION, versionPayload(QEMU_JSON))
            const expected = all.filter((said) => {
              return (said.flags & TYPE) !== REPLY && (said.flags & NO_REPLY) === 0
            })
            const reading = (async () => {
              for (const { id, command } of expected) {
                const reply = await client.reply()
                assert.deepEqual([reply.id, reply.command], [id, command])
                assert.ok(reply.flags === 0x01 || (reply.flags === 0x21 && reply.size === 16))
                assert.equal(reply.flags === 0x21, reply.error > 0)
              }
            })()
            // at the same time: replies of a MiB fill the socket, and then the server does not read
            await Promise.all([reading, sayAll(client, all)])
            await client.assertAlive()
          })
        },
      ),
      { numRuns: 500 },
    )
  })

  test('any bytes after VERSION: the next client is served', async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.tuple(messages, fc.nat(15), fc.integer({ min: 0, max: 255 })).map(([said, at, byte]) => {
        const changed = message(said.command, said.payload, said)
        changed[at] = byte
        return changed
      }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(bytes, { maxLength: 10 }), fc.boolean(), async (all, hello) => {
        await assertLeavesNothing(async (client) => {
          if (hello) await client.request(VERSION, versionPayload(QEMU_JSON))
          for (const part of all) {
            try {
              client.sendNow(part, [gifts[2] ?? -1])
            } catch {
              break // it was closed, as it may be
            }
          }
        })
        using next = await RawClient.attach(served.path)
        await next.assertAlive()
        next.close()
        await served.idle()
      }),
      { numRuns: 500 },
    )
  })
})

async function sayAll(client: RawClient, all: readonly Said[]): Promise<void> {
  for (const said of all) await say(client, said)
}
