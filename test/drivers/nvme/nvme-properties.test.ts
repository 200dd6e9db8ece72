/** Guests that do anything at all: the controller stays inside its disk and its guest's words, and a reset brings it back. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as fc from 'fast-check'
import { CC, MEMORY, MIB, NvmeHost, PAGE, pattern, type Sqe, Stage } from './nvme-host.ts'

const SIZE = MIB
/** What no command names is at the end of the host's memory, and queues and data are far before. */
const SECRET = MEMORY + 15 * MIB
const DATA = MEMORY + 4 * MIB
const READ = 2
const RUNS = 25

const address = fc.oneof(
  { weight: 5, arbitrary: fc.nat(63).map((page) => DATA + page * PAGE) },
  { weight: 2, arbitrary: fc.nat(64 * PAGE).map((offset) => DATA + offset) },
  fc.constantFrom(0, 2 ** 40, 2 ** 63, 2 ** 64 - PAGE, MEMORY + 16 * MIB - 512, MEMORY + 16 * MIB),
)
const dword = fc.oneof(
  fc.nat(20),
  fc.nat(0xffff_ffff),
  fc.constantFrom(0x3f_0002, 0x2_0001, 0x3_0003, 2047, 2048, 1024, 0xffff_ffff, 0x4000_0007),
)
const sqe: fc.Arbitrary<Sqe> = fc.record({
  opcode: fc.oneof({ weight: 6, arbitrary: fc.nat(12) }, fc.constantFrom(0x7c, 0x80), fc.nat(255)),
  flags: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.constantFrom(0x40, 0x80, 0xc0, 1)),
  nsid: fc.oneof({ weight: 6, arbitrary: fc.constant(1) }, fc.constantFrom(0, 2, 0xffff_ffff)),
  prp1: address,
  prp2: address,
  cdw10: dword,
  cdw11: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, dword),
  cdw12: dword,
  cdw13: dword,
})
const action = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      queue: fc.constantFrom(0, 1, 1),
      sqes: fc.array(sqe, { minLength: 1, maxLength: 12 }),
    }),
  },
  fc.record({ doorbell: fc.nat(11), value: fc.oneof(fc.nat(70), dword) }),
  fc.record({
    register: fc.constantFrom(CC, 0x0c, 0x10, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x1c, 0x3c),
    value: dword,
  }),
  fc.record({
    descriptors: fc.array(fc.tuple(fc.nat(63), fc.nat(511), address), { maxLength: 40 }),
  }),
)

let stage: Stage
before(async () => (stage = await Stage.start({ size: SIZE })))
after(() => stage?.[Symbol.dispose]())

async function perform(
  host: NvmeHost,
  actions: readonly (typeof action extends fc.Arbitrary<infer T> ? T : never)[],
) {
  for (const each of actions) {
    if ('sqes' in each) {
      const queue = host.queue(each.queue)
      for (const command of each.sqes) host.put(queue, command)
      host.ring(queue)
    } else if ('doorbell' in each) host.ringAt(each.doorbell, each.value)
    else if ('register' in each) await host.set(each.register, each.value)
    else
      for (const [page, index, value] of each.descriptors)
        host.view.setBigUint64(DATA - MEMORY + page * PAGE + index * 8, BigInt(value), true)
  }
}

for (const memory of ['shared', 'message'] as const) {
  test(`nvme, ${memory} memory: whatever a guest does, it stays inside, and comes back by a reset`, async () => {
    const property = fc.asyncProperty(fc.array(action, { maxLength: 15 }), async (actions) => {
      using host = await NvmeHost.ready(stage, { memory })
      host.bytes(SECRET, 16 * PAGE).fill(0x5a)
      await perform(host, actions)
      await host.disable()
      assert.ok(host.bytes(SECRET, 16 * PAGE).every((byte) => byte === 0x5a))
      assert.equal(stage.slice.outside, 0)
      assert.equal(stage.slice.underWay, 0)
      await host.enable()
      await host.createPair(1, 8)
      stage.slice.bytes.set(pattern(PAGE, 1), 8 * 512)
      const prp1 = host.allocate()
      const { status } = await host.io({ opcode: READ, prp1, cdw10: 8, cdw12: 7 })
      assert.equal(status, 0)
      assert.deepEqual(Buffer.from(host.bytes(prp1, PAGE)), Buffer.from(pattern(PAGE, 1)))
      host.client.detach()
      await stage.served.idle()
    })
    await fc.assert(property, { numRuns: RUNS })
    assert.deepEqual(
      stage.served.lines.filter((line) => line.startsWith('error')),
      [],
    )
  })
}
