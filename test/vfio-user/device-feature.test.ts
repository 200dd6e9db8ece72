/** DEVICE_FEATURE: sections 14.1 and 19 of the reference. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { Client } from '../../src/vfio-user/client.ts'
import { openFds } from '../support/fds.ts'
import { type MigratableDevice, serveMigratable } from '../support/vfio-user-migratable.ts'
import { answer, FakeServer, type Request } from '../support/vfio-user-fake.ts'
import {
  assertRefused,
  assertSuccess,
  DEVICE_FEATURE,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  feature,
  GET,
  GET_INFO,
  message,
  MIG_DATA_READ,
  MIG_DATA_WRITE,
  NO_REPLY,
  PROBE,
  QEMU_JSON,
  RawClient,
  type RawReply,
  RESET,
  SET,
  u16,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

// section 14.1
const MIGRATION = 1
const MIG_DEVICE_STATE = 2
const START = 6
const STOP = 7
const REPORT = 8

let served: Served
let device: MigratableDevice
let client: RawClient
before(async () => {
  ;({ served, device } = await serveMigratable())
})
after(() => served[Symbol.dispose]())
beforeEach(async () => {
  client = await RawClient.attach(served.path)
})
afterEach(async () => {
  client.close()
  await served.idle()
})

function ask(flags: number, data?: Uint8Array, argsz?: number): Promise<RawReply> {
  return client.request(DEVICE_FEATURE, feature(flags, data, argsz))
}

const NONE = Buffer.alloc(0)
const PAGE = 4096
const START_ALL = Buffer.concat([u64(PAGE), u32(0, 0)])
const START_ONE = Buffer.concat([u64(PAGE), u32(1, 0), u64(0, PAGE)])

/** Every feature with every operation that it has, as a request; and the data of the answer. */
const OPERATIONS: readonly [name: string, flags: number, data: Buffer, answer: Buffer][] = [
  ['GET of MIGRATION', GET | MIGRATION, NONE, u64(5)], // STOP_COPY and PRE_COPY
  ['GET of MIGRATION, with room', GET | MIGRATION, Buffer.alloc(8, 0xee), u64(5)],
  ['GET of MIG_DEVICE_STATE', GET | MIG_DEVICE_STATE, NONE, u32(2, 0)], // RUNNING
  ['GET of MIG_DEVICE_STATE, with room', GET | MIG_DEVICE_STATE, Buffer.alloc(8), u32(2, 0)],
  ['SET of MIG_DEVICE_STATE', SET | MIG_DEVICE_STATE, u32(2, 0), u32(2, 0)],
  // data_fd is ignored, and written as 0
  ['SET of MIG_DEVICE_STATE, fd -1', SET | MIG_DEVICE_STATE, u32(2, 0xffffffff), u32(2, 0)],
  ['SET of DMA_LOGGING_START', SET | START, START_ALL, START_ALL],
  ['SET of DMA_LOGGING_START of a range', SET | START, START_ONE, START_ONE],
  ['SET of DMA_LOGGING_STOP', SET | STOP, NONE, NONE],
]

describe('DEVICE_FEATURE', () => {
  for (const [name, flags, data, expected] of OPERATIONS) {
    test(`${name} is answered with its 8 bytes and ${expected.length} of data`, async () => {
      const reply = await ask(flags, data)
      assertSuccess(reply)
      assert.deepEqual(reply.payload, feature(flags, expected, 8 + expected.length))
    })

    test(`${name} takes an argsz of just that, and a larger one`, async () => {
      const exact = 8 + Math.max(data.length, expected.length)
      for (const argsz of [exact, exact + 1, 0xffffffff]) {
        assertSuccess(await ask(flags, data, argsz))
        await ask(SET | STOP)
      }
    })

    test(`${name} with an argsz of one less is EINVAL`, async () => {
      const exact = 8 + Math.max(data.length, expected.length)
      assertRefused(await ask(flags, data, exact - 1), 'EINVAL')
    })

    test(`${name} with No_reply is done, and not answered`, async () => {
      await client.send(message(DEVICE_FEATURE, feature(flags, data), { flags: NO_REPLY }))
      await client.assertAlive()
    })
  }

  for (const probed of [
    GET | MIGRATION,
    MIGRATION,
    GET | MIG_DEVICE_STATE,
    SET | MIG_DEVICE_STATE,
    GET | SET | MIG_DEVICE_STATE,
    SET | START,
    SET | STOP,
    GET | REPORT,
    REPORT,
  ]) {
    test(`PROBE of 0x${probed.toString(16)} succeeds without data, and does nothing`, async () => {
      const reply = await ask(PROBE | probed, NONE, 8)
      assertSuccess(reply)
      assert.deepEqual(reply.payload, u32(8, PROBE | probed))
      assertRefused(await ask(GET | REPORT, u64(0, PAGE, PAGE), 100), 'EINVAL') // nothing is logged
    })
  }

  test('PROBE with the data that its operation would have, as C programs send it', async () => {
    const reply = await ask(PROBE | SET | START, START_ALL)
    assertSuccess(reply)
    assert.deepEqual(reply.payload, u32(8, PROBE | SET | START))
  })

  test('answers every operation right after VERSION, and all at once', async () => {
    const requests = OPERATIONS.map(([, flags, data]) =>
      message(DEVICE_FEATURE, feature(flags, data)),
    )
    const stop = message(DEVICE_FEATURE, feature(SET | STOP))
    await client.send(Buffer.concat(requests.flatMap((request) => [request, stop])))
    for (const [, flags, , expected] of OPERATIONS) {
      assert.deepEqual(
        (await client.reply()).payload,
        feature(flags, expected, 8 + expected.length),
      )
      assertSuccess(await client.reply())
    }
  })
})

const REFUSED: readonly [title: string, payload: Buffer][] = [
  ['no payload', NONE],
  ['a payload of 7 bytes', Buffer.alloc(7, 8)],
  ['argsz 0', feature(GET | MIGRATION, NONE, 0)],
  ['argsz 7', feature(PROBE | MIGRATION, NONE, 7)],
  ['argsz 8 with room', feature(GET | MIGRATION, Buffer.alloc(8), 8)],
  ['no operation', feature(MIGRATION)],
  ['no operation and no feature', feature(0)],
  ['GET and SET', feature(GET | SET | MIG_DEVICE_STATE, u32(2, 0))],
  // reserved flags, each of bits 19 to 31
  ...Array.from({ length: 13 }, (_, i): [string, Buffer] => [
    `flag ${19 + i}`,
    feature((GET | MIGRATION | (1 << (19 + i))) >>> 0),
  ]),
  ['flag 31 with PROBE', feature((PROBE | GET | MIGRATION | 0x80000000) >>> 0)],
  // features that are not there: of Linux, of nobody
  ...[0, 3, 4, 5, 9, 10, 0x7777, 0xffff].flatMap((unknown): [string, Buffer][] =>
    [GET, SET, PROBE, PROBE | GET, PROBE | SET].map((flags) => [
      `feature ${unknown}, flags 0x${flags.toString(16)}`,
      feature(flags | unknown, Buffer.alloc(8)),
    ]),
  ),
  // operations that are not there
  ...[SET | MIGRATION, GET | START, GET | STOP, SET | REPORT].flatMap(
    (flags): [string, Buffer][] => [
      [`0x${flags.toString(16)}`, feature(flags, Buffer.alloc(24))],
      [`PROBE of 0x${flags.toString(16)}`, feature(PROBE | flags)],
      [`PROBE of 0x${flags.toString(16)} both`, feature(PROBE | GET | SET | flags)],
    ],
  ),
  // data of other lengths
  ...(
    [
      ['GET of MIGRATION', GET | MIGRATION, [1, 7, 9, 16]],
      ['GET of MIG_DEVICE_STATE', GET | MIG_DEVICE_STATE, [1, 4, 7, 9, 16]],
      ['SET of MIG_DEVICE_STATE', SET | MIG_DEVICE_STATE, [0, 4, 7, 9, 16]],
      ['DMA_LOGGING_START', SET | START, [0, 8, 15, 17, 24, 32]],
      ['DMA_LOGGING_STOP', SET | STOP, [1, 8]],
      ['DMA_LOGGING_REPORT', GET | REPORT, [0, 8, 23, 25, 32]],
    ] as const
  ).flatMap(([name, flags, lengths]): [string, Buffer][] =>
    lengths.map((length) => [
      `${name} with ${length} bytes`,
      feature(flags, Buffer.concat([u32(2), Buffer.alloc(64)]).subarray(0, length), 4096),
    ]),
  ),
]

describe('DEVICE_FEATURE refuses', () => {
  for (const [title, payload] of REFUSED) {
    test(`${title} with EINVAL, and lives`, async () => {
      assertRefused(await client.request(DEVICE_FEATURE, payload), 'EINVAL')
      await client.assertAlive()
      assertSuccess(await ask(GET | MIG_DEVICE_STATE))
    })
  }

  test('an fd with EINVAL, and closes it', async () => {
    const before = openFds()
    const request = feature(GET | MIGRATION)
    assertRefused(await client.request(DEVICE_FEATURE, request, { fds: [client.fd] }), 'EINVAL')
    assert.deepEqual(openFds(), before)
  })

  test('it before VERSION, with the end', async () => {
    client.close()
    await served.idle()
    using early = RawClient.connect(served.path)
    assertRefused(await early.request(DEVICE_FEATURE, feature(GET | MIGRATION)), 'EINVAL')
    await early.end()
  })
})

describe('a device that cannot migrate', () => {
  let plain: Served
  before(async () => {
    ;({ served: plain } = await serveTestDevice())
  })
  after(() => plain[Symbol.dispose]())

  test('has no feature at all: EINVAL, as libvfio-user has it', async () => {
    using client = await RawClient.attach(plain.path)
    for (const [, flags, data] of OPERATIONS) {
      for (const action of [flags, flags | PROBE]) {
        const request = feature(action, data)
        assertRefused(await client.request(DEVICE_FEATURE, request), 'EINVAL')
      }
    }
    const report = feature(GET | REPORT, u64(0, PAGE, PAGE), 4096)
    assertRefused(await client.request(DEVICE_FEATURE, report), 'EINVAL')
    assertRefused(await client.request(MIG_DATA_READ, u32(16, 8)), 'EINVAL')
    assertRefused(await client.request(MIG_DATA_WRITE, u32(9, 1, 0).subarray(0, 9)), 'EINVAL')
    await client.assertAlive()
  })

  test('is not announced to migrate, and our client asks nothing then', async () => {
    const client = await Client.attach(plain.path)
    assert.equal('migration' in client.capabilities, false)
    assert.equal(await client.probeFeature(MIGRATION, 'get'), false)
    await assert.rejects(client.migration.state(), { code: 'EOPNOTSUPP' })
    await assert.rejects(client.dirtyLog.start(), { code: 'EOPNOTSUPP' })
    await assert.rejects(client.feature(MIGRATION, 'get'), { code: 'EOPNOTSUPP' })
    client.detach()
  })
})

describe('VERSION of a device that can migrate', () => {
  /** Section 5.1: what QEMU's buffer holds. */
  const QEMU_LIMIT = 214

  for (const [title, proposal, announced] of [
    ['QEMU 11.1.3', QEMU_JSON, { pgsize: 4096 }],
    ['Cloud Hypervisor', '{"capabilities":{"migration":{"pgsize":4096}}}', { pgsize: 4096 }],
    ['nothing of it', '{"capabilities":{"migration":{}}}', { pgsize: 4096 }],
    ['pages of 64 KiB', '{"capabilities":{"migration":{"pgsize":65536}}}', { pgsize: 4096 }],
    [
      'all that there is',
      QEMU_JSON.replace('"write', '"sparse_mmap_fds": true, "write'),
      { pgsize: 4096 },
    ],
    ['no migration', '{"capabilities":{"write_multiple":true}}', undefined],
    ['SPDK, without JSON', undefined, undefined],
  ] as const) {
    test(`says ${announced === undefined ? 'nothing' : 'so'} to ${title}, in 214 bytes`, async () => {
      client.close()
      await served.idle()
      using other = RawClient.connect(served.path)
      const reply = await other.request(VERSION, versionPayload(proposal))
      assertSuccess(reply)
      assert.ok(reply.size <= QEMU_LIMIT, `${reply.size} bytes`)
      const { capabilities } = JSON.parse(
        reply.payload.toString('utf8', 4, reply.payload.length - 1),
      )
      assert.deepEqual(capabilities.migration, announced)
    })
  }

  for (const migration of [
    'true',
    '[]',
    'null',
    '"x"',
    '4096',
    '{"pgsize":0}',
    '{"pgsize":4095}',
    '{"pgsize":-4096}',
    '{"pgsize":"4096"}',
    '{"max_bitmap_size":-1}',
    '{"max_bitmap_size":1.5}',
    '{"max_bitmap_size":true}',
  ]) {
    test(`refuses migration ${migration}: EINVAL, then the end`, async () => {
      client.close()
      await served.idle()
      using other = RawClient.connect(served.path)
      const proposal = versionPayload(`{"capabilities":{"migration":${migration}}}`)
      assertRefused(await other.request(VERSION, proposal), 'EINVAL')
      await other.end()
    })
  }
})

test('any DEVICE_FEATURE: a success or an errno, in order, and nothing is left', async () => {
  const flagsOf = fc
    .tuple(
      fc.constantFrom(GET, SET, PROBE, PROBE | GET, PROBE | SET, GET | SET, 0),
      fc.oneof(fc.constantFrom(1, 2, 6, 7, 8), fc.nat(12), fc.nat(0xffff)),
    )
    .map(([action, number]) => action | number)
  const words = fc.oneof(
    fc.constantFrom(0n, 1n, 2n, 3n, 4n, 6n, 0x1000n, 0x2000n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  )
  const requests = fc.oneof(
    fc
      .tuple(
        flagsOf,
        fc.array(words, { maxLength: 6 }).map((all) => u64(...all)),
        fc.oneof(fc.constantFrom(8, 16, 32, 48, 4096), fc.nat(0xffffffff)),
        fc.nat(3),
      )
      .map(
        ([flags, data, argsz, cut]) =>
          [DEVICE_FEATURE, feature(flags, data.subarray(0, data.length - cut), argsz)] as const,
      ),
    fc.tuple(fc.nat(300), fc.nat(300)).map((all) => [MIG_DATA_READ, u32(...all)] as const),
    fc
      .tuple(fc.nat(300), fc.uint8Array({ maxLength: 300 }), fc.boolean())
      .map(
        ([argsz, bytes, lies]) =>
          [
            MIG_DATA_WRITE,
            Buffer.concat([u32(argsz, bytes.length + (lies ? 1 : 0)), bytes]),
          ] as const,
      ),
    fc.constantFrom(
      [RESET, NONE] as const,
      [GET_INFO, u32(16, 0, 0, 0)] as const,
      [DMA_MAP, dmaMap({ iova: 0x1000 })] as const,
      [DMA_UNMAP, Buffer.concat([u32(48, 1), u64(0x1000, 0x1000, 4096, 8)])] as const,
    ),
  )
  const before = openFds().length
  await fc.assert(
    fc.asyncProperty(fc.array(requests, { maxLength: 30, size: 'max' }), async (all) => {
      using other = await attachAnew()
      await other.send(
        Buffer.concat(all.map(([command, payload], id) => message(command, payload, { id }))),
      )
      for (const [id, [command]] of all.entries()) {
        const reply = await other.reply()
        assert.deepEqual([reply.id, reply.command], [id, command])
        assert.ok(reply.flags === 0x01 || (reply.flags === 0x21 && reply.size === 16))
      }
      for (const state of [1, 4]) await go(other, state) // to RESUMING, from wherever that is possible
      await other.request(RESET)
      const reply = await other.request(DEVICE_FEATURE, feature(GET | MIG_DEVICE_STATE))
      assert.deepEqual(reply.payload.subarray(8), u32(2, 0), 'a reset in RESUMING leads to RUNNING')
    }),
    { numRuns: 200 },
  )
  await served.idle()
  assert.ok(openFds().length <= before)
  assert.deepEqual(device.loaded, [])
})

async function attachAnew(): Promise<RawClient> {
  client.close()
  await served.idle()
  return RawClient.attach(served.path)
}

function go(other: RawClient, state: number): Promise<RawReply> {
  return other.request(DEVICE_FEATURE, feature(SET | MIG_DEVICE_STATE, u32(state, 0)))
}

describe('Client, of features', () => {
  let ours: Client
  beforeEach(async () => {
    client.close()
    await served.idle()
    ours = await Client.attach(served.path)
  })
  afterEach(() => ours.detach())

  test('learns that the device migrates', () => {
    assert.deepEqual(ours.capabilities.migration, { pgsize: 4096, max_bitmap_size: 268435456 })
  })

  test('gets, sets and probes', async () => {
    assert.deepEqual(Buffer.from(await ours.feature(MIGRATION, 'get')), u64(5))
    const set = await ours.feature(MIG_DEVICE_STATE, 'set', { data: u32(2, 0) })
    assert.deepEqual(Buffer.from(set), u32(2, 0))
    assert.equal(await ours.probeFeature(MIG_DEVICE_STATE, 'set'), true)
    assert.equal(await ours.probeFeature(MIGRATION, 'set'), false)
    assert.equal(await ours.probeFeature(0x7777, 'get'), false)
    await assert.rejects(ours.feature(0x7777, 'get'), { code: 'EINVAL' })
    await ours.info()
  })

  test('passes on what is no refusal of a feature', async () => {
    ours.detach()
    await assert.rejects(ours.probeFeature(MIGRATION, 'get'), { code: 'ECONNRESET' })
  })
})

/** A server that offers migration and answers DEVICE_FEATURE and MIG_DATA_READ with these bytes. */
async function withAnswer(payload: Buffer, body: (client: Client) => Promise<void>): Promise<void> {
  await using server = await FakeServer.start((request: Request, socket) => {
    const version = Buffer.concat([
      u16(0, 0),
      Buffer.from('{"capabilities":{"migration":{"pgsize":4096}}}\0'),
    ])
    answer(socket, request, request.command === VERSION ? version : payload)
  })
  const client = await Client.attach(server.path)
  try {
    await body(client)
  } finally {
    client.detach()
  }
}

describe('Client, of a server whose features are wrong', () => {
  for (const [title, payload, body] of [
    ['answers with nothing', NONE, (client) => client.feature(MIGRATION, 'get')],
    ['has no room for flags', feature(MIGRATION, u32(5)), (client) => client.migration.flags()],
    [
      'answers with more than was asked for',
      feature(MIGRATION, Buffer.alloc(16)),
      (client) => client.feature(MIGRATION, 'get'),
    ],
    ['has no state', feature(MIG_DEVICE_STATE), (client) => client.migration.state()],
    ['is in state 7', feature(MIG_DEVICE_STATE, u32(7, 0)), (client) => client.migration.state()],
    ['repeats no page size', feature(START, u32(1)), (client) => client.dirtyLog.start()],
    [
      'has a bitmap that is too short',
      feature(REPORT, Buffer.alloc(24)),
      (client) => client.dirtyLog.report(0, PAGE),
    ],
    ['sends no size of data', u32(8), (client) => client.migration.read(4)],
    ['sends less data than it says', u32(16, 4), (client) => client.migration.read(4)],
    ['sends more data than asked for', u32(16, 8, 0, 0), (client) => client.migration.read(4)],
  ] as const satisfies readonly (readonly [
    string,
    Buffer,
    (client: Client) => Promise<unknown>,
  ])[]) {
    test(`${title}: EPROTO`, async () => {
      await withAnswer(payload, async (client) => {
        await assert.rejects(body(client), { code: 'EPROTO' })
      })
    })
  }
})
