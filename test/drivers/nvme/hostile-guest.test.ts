/**
 * Guests that do anything, on a slice of a real image: nothing outside the slice changes, nor memory that was not named; each
 * command ends once, or is dropped with its queue; and nothing stays under way.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setImmediate as nextTurn, setTimeout as nap } from 'node:timers/promises'
import * as fc from 'fast-check'
import { openFds } from '../../support/fds.ts'
import { MIB } from './disk-guest.ts'
import { DiskStage } from './disk-stage.ts'
import {
  CC,
  CC_ENABLE,
  CFS,
  CSTS,
  MEMORIES,
  MEMORY,
  NvmeHost,
  PAGE,
  type QueuePair,
  RDY,
  sgl,
  type Sqe,
} from './nvme-host.ts'

const [FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DSM] = [0, 1, 2, 5, 8, 9] as const
const [DELETE_SQ, GET_LOG, DELETE_CQ, IDENTIFY, ABORT] = [0, 2, 4, 6, 8] as const
const [SET_FEATURES, GET_FEATURES, FORMAT] = [9, 10, 0x80] as const
/** The seed leads there again; to make the game smaller would take longer than a test may. */
const OPTIONS = { numRuns: 6, endOnFailure: true }
/** Of a queue. */
const ENTRIES = 16
/** Turns of the event loop after which what has not ended never will. */
const PATIENCE = 30_000
/** Of these, those that take no time; the others leave the processor to whoever works for the disk. */
const QUICK = 1000

/** All that commands name is in these pages; after them is what they must not touch. */
const DATA = MEMORY + 4 * MIB
const DATA_PAGES = 64
const SECRET = DATA + DATA_PAGES * PAGE
const SECRET_BYTES = Buffer.alloc(MIB, 0x5a)
/** What is in the image before and after the slice. */
const NEIGHBOUR = Buffer.alloc(MIB, 0xa5)

/** Of the first pages: what starts there ends in one of the others. */
const address = fc.oneof(
  { weight: 6, arbitrary: fc.nat(47).map((page) => DATA + page * PAGE) },
  { weight: 2, arbitrary: fc.nat(47 * PAGE).map((offset) => DATA + offset) },
  fc.constantFrom(0, 2 ** 40, 2 ** 63, 2 ** 64 - PAGE, MEMORY + 16 * MIB - 512, MEMORY + 16 * MIB),
)
const segment = fc
  .tuple(
    fc.constantFrom(0, 0, 0, 1, 2, 3, 5),
    address,
    fc.oneof(fc.constantFrom(512, 1024, PAGE), fc.nat(16 * PAGE)),
  )
  .map(([type, iova, length]) => sgl(type, iova, length))
const lba = fc.oneof(
  { weight: 5, arbitrary: fc.nat(2040) },
  fc.constantFrom(2047, 2048, 2 ** 32 - 1),
)
const blocks = fc.oneof(
  { weight: 6, arbitrary: fc.nat(15) },
  fc.constantFrom(63, 255, 1023, 1024, 0xffff, 0x4000_0007, 0x0200_0007),
)
const nsid = fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, fc.constantFrom(0, 2, 0xffff_ffff))
const byPrp = fc.record({
  opcode: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(FLUSH, WRITE, READ, READ, COMPARE, WRITE_ZEROES) },
    fc.nat(255),
  ),
  nsid,
  prp1: address,
  prp2: address,
  cdw10: lba,
  cdw11: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, fc.nat(0xffff_ffff)),
  cdw12: blocks,
})
const bySgl = fc.record({
  opcode: fc.constantFrom(WRITE, READ, COMPARE),
  flags: fc.constantFrom(0x40, 0x40, 0x80, 0xc0, 0x41),
  nsid,
  sgl: segment,
  cdw10: lba,
  cdw12: blocks,
})
const discard = fc.record({
  opcode: fc.constant(DSM),
  nsid,
  prp1: address,
  prp2: address,
  cdw10: fc.nat(255),
  cdw11: fc.constantFrom(4, 4, 7, 1),
})
const ioCommand: fc.Arbitrary<Sqe> = fc.oneof({ weight: 3, arbitrary: byPrp }, bySgl, discard)
const adminCommand: fc.Arbitrary<Sqe> = fc.oneof(
  fc.record({
    opcode: fc.constantFrom(IDENTIFY, GET_LOG, GET_FEATURES),
    nsid,
    prp1: address,
    prp2: address,
    cdw10: fc.oneof(fc.nat(16), fc.nat(0xffff_ffff)),
    cdw12: fc.constantFrom(0, 0, 4, 512, 2 ** 32 - 4),
  }),
  fc.record({
    opcode: fc.constant(SET_FEATURES),
    prp1: address,
    cdw10: fc.constantFrom(1, 4, 6, 7, 8, 9, 11, 14, 0x81, 0x8000_0006),
    cdw11: fc.oneof(fc.nat(3), fc.nat(0xffff_ffff)),
  }),
  fc.record({ opcode: fc.constant(ABORT), cdw10: fc.nat(40).map((id) => id * 0x8000 + 1) }),
  fc.record({ opcode: fc.constant(FORMAT), nsid, cdw10: fc.constantFrom(0, 0x200, 1) }),
)
const entry = fc.tuple(fc.nat(DATA_PAGES - 1), fc.nat(255))
/** What guests do who play by the rules of queues, whatever they put into them. */
const action = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      queue: fc.constantFrom(1, 2),
      sqes: fc.array(ioCommand, { minLength: 1, maxLength: 12, size: 'max' }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ admin: adminCommand }) },
  { weight: 2, arbitrary: fc.record({ at: entry, value: address }) },
  { weight: 1, arbitrary: fc.record({ at: entry, descriptor: segment }) },
  { weight: 1, arbitrary: fc.record({ at: entry, start: lba, count: fc.nat(64) }) },
  { weight: 2, arbitrary: fc.record({ advanceMs: fc.nat(200) }) },
  fc.record({ iops: fc.constantFrom(0, 5, 1000), bandwidth: fc.constantFrom(0, 4096, 2 ** 20) }),
  fc.record({ renew: fc.constantFrom(1, 2) }),
  fc.record({ reset: fc.constantFrom('controller', 'device', 'shadows' as const) }),
)
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never
/** Of those who break them as well. */
const lie = fc.oneof(
  { weight: 3, arbitrary: action },
  fc.record({ doorbell: fc.nat(11), tail: fc.oneof(fc.nat(20), fc.nat(0xffff_ffff)) }),
  fc.record({ word: fc.nat(1023), stored: fc.oneof(fc.nat(20), fc.nat(0xffff_ffff)) }),
)
type Lie = typeof lie extends fc.Arbitrary<infer T> ? T : never

/** One guest, who knows which of its commands have not ended. */
class Guest {
  readonly host: NvmeHost
  readonly #stage: DiskStage
  readonly #memory: (typeof MEMORIES)[number]
  /** By queue. */
  readonly open = new Map<QueuePair, Set<number>>()
  ended = 0

  constructor(host: NvmeHost, stage: DiskStage, memory: (typeof MEMORIES)[number]) {
    this.host = host
    this.#stage = stage
    this.#memory = memory
  }

  async start(): Promise<void> {
    await this.host.enable()
    this.open.clear()
    this.host.held.clear()
    this.host.bytes(SECRET, MIB).set(SECRET_BYTES)
    for (const id of [1, 2]) await this.pair(id)
  }

  async pair(id: number): Promise<void> {
    // completions fill up earlier than submissions, now and then
    const pair = await this.host.createPair(id, ENTRIES, id === 1 ? ENTRIES : 5)
    this.host.held.add(pair)
    this.open.set(pair, new Set())
  }

  submit(id: number, sqes: readonly Sqe[]): void {
    const queue = this.host.queue(id)
    const open = this.open.get(queue)!
    for (const sqe of sqes) {
      if (open.size >= ENTRIES - 1) break
      open.add(this.host.put(queue, sqe))
    }
    this.host.ring(queue)
  }

  /** Takes completions, each of a command that is open. */
  reap(): void {
    for (const [queue, open] of this.open)
      for (const { id, queue: from } of this.host.reap(queue)) {
        assert.equal(from, queue.id)
        assert.ok(open.delete(id), `command ${id} of queue ${queue.id} has ended once`)
        this.ended++
      }
  }

  /** Waits until something has come true, which needs turns of the loop and time. */
  async until(what: string, condition: () => boolean): Promise<void> {
    for (let turn = 0; !condition(); turn++) {
      assert.ok(turn < PATIENCE, what)
      this.reap()
      this.#stage.setup.clock.advance(10)
      await (turn < QUICK ? nextTurn() : nap(1))
    }
  }

  /** Waits until all commands have ended. */
  async idle(): Promise<void> {
    const isOpen = () => [...this.open.values()].some(({ size }) => size > 0)
    await this.until('all commands end', () => !isOpen())
  }

  async perform(each: Action): Promise<void> {
    const { host } = this
    const { slice, setup } = this.#stage
    if ('sqes' in each) this.submit(each.queue, each.sqes)
    else if ('admin' in each) await this.#finish(host.try(each.admin))
    else if ('value' in each) this.#data(each.at).setBigUint64(0, BigInt(each.value), true)
    else if ('descriptor' in each) this.#bytes(each.at).set(each.descriptor)
    else if ('start' in each) {
      this.#data(each.at).setUint32(4, each.count, true)
      this.#data(each.at).setBigUint64(8, BigInt(each.start), true)
    } else if ('advanceMs' in each) setup.clock.advance(each.advanceMs)
    else if ('iops' in each) slice.limit(each)
    else if ('renew' in each) await this.#renew(each.renew)
    else if (each.reset === 'shadows') {
      // a head that is written to its register while doorbells move to memory is the guest's mistake
      await this.idle()
      await this.#finish(this.#moveDoorbells())
    } else {
      if (each.reset === 'device') {
        await host.client.reset()
        await host.masterBus(true)
      }
      await this.start() // what was open is dropped
    }
  }

  /** Deletes a pair of queues, whose commands end before that or were never taken, and makes it anew. */
  async #renew(id: number): Promise<void> {
    const { host } = this
    const queue = host.queue(id)
    await this.#finish(host.command({ opcode: DELETE_SQ, cdw10: id }))
    // what was being read by message is not taken any more, and goes with its queue
    if (this.#memory === 'shared')
      await this.until(`the commands of queue ${id} end`, () => this.open.get(queue)!.size === 0)
    await this.#finish(host.command({ opcode: DELETE_CQ, cdw10: id }))
    this.open.delete(queue)
    host.held.delete(queue)
    await this.pair(id)
  }

  /** Puts doorbells into memory, which takes memory that is shared. */
  async #moveDoorbells(): Promise<void> {
    const { host } = this
    if (this.#memory === 'shared') await host.shadow()
    else {
      const pages = { prp1: host.allocate(), prp2: host.allocate() }
      assert.equal((await host.try({ opcode: 0x7c, ...pages })).status, 2) // Invalid Field
    }
  }

  /** Waits for the end of admin commands, for which those of other queues may have to end. */
  async #finish(work: Promise<unknown>): Promise<void> {
    let isDone = false
    const done = work.finally(() => (isDone = true))
    done.catch(() => {}) // which is heard below
    await this.until('an admin command ends', () => isDone)
    await done
  }

  #bytes([page, index]: readonly [number, number]): Uint8Array {
    return this.host.bytes(DATA + page * PAGE + 16 * index, 16)
  }

  #data(at: readonly [number, number]): DataView {
    const { buffer, byteOffset } = this.#bytes(at)
    return new DataView(buffer, byteOffset, 16)
  }
}

/** Begins with bytes around the slice that say so if they change. */
async function startStage(): Promise<DiskStage> {
  const stage = await DiskStage.start({ beforeMib: 1, sizeMib: 1, afterMib: 1 })
  const bytes = Buffer.concat([NEIGHBOUR, Buffer.alloc(MIB, 0x11), NEIGHBOUR])
  writeFileSync(stage.setup.path, bytes, { flag: 'r+' }) // in place: it is in use
  return stage
}

/** Nothing was touched that is not the guest's, nothing was lost, and a new guest finds all well. */
async function check(stage: DiskStage, host: NvmeHost): Promise<void> {
  const { slice, setup, served } = stage
  slice.limit({ bandwidth: 0, iops: 0 })
  assert.ok(SECRET_BYTES.equals(host.bytes(SECRET, MIB)))
  await host.disable()
  await slice.quiesce()
  assert.equal(setup.clock.running, 0, 'no timer is left')
  const image = readFileSync(setup.path)
  assert.equal(image.length, 3 * MIB)
  assert.ok(image.subarray(0, MIB).equals(NEIGHBOUR))
  assert.ok(image.subarray(2 * MIB).equals(NEIGHBOUR))
  await host.enable()
  await host.createPair(1, ENTRIES)
  const prp1 = host.allocate()
  host.bytes(prp1, 512).fill(0x33)
  const at = { nsid: 1, prp1, cdw10: 2047 }
  for (const opcode of [WRITE, READ, COMPARE, FLUSH])
    assert.equal((await host.io({ opcode, ...at })).status, 0)
  assert.deepEqual(
    served.lines.filter((line) => line.startsWith('error')),
    [],
  )
}

for (const memory of MEMORIES) {
  test(`nvme, ${memory} memory: whatever a guest asks for, each command ends once or is dropped`, async () => {
    await using stage = await startStage()
    const fds = openFds().length
    let ended = 0
    const property = fc.asyncProperty(
      fc.array(action, { maxLength: 25, size: 'max' }),
      async (actions) => {
        using host = await NvmeHost.attach(stage, memory)
        const guest = new Guest(host, stage, memory)
        await guest.start()
        for (const each of actions) {
          guest.reap()
          await guest.perform(each)
        }
        stage.slice.limit({ bandwidth: 0, iops: 0 })
        await guest.idle()
        assert.equal((await host.get(CSTS)) & (RDY | CFS), RDY)
        guest.reap()
        ended += guest.ended
        await check(stage, host)
        host.client.detach()
        await stage.served.idle()
      },
    )
    await fc.assert(property, OPTIONS)
    assert.ok(ended > 0, 'some commands were there')
    assert.ok(openFds().length <= fds, 'no fd is left')
  })

  test(`nvme, ${memory} memory: whatever a guest does to doorbells too, nobody else is touched`, async () => {
    await using stage = await startStage()
    const property = fc.asyncProperty(
      fc.array(lie, { maxLength: 25, size: 'max' }),
      async (lies) => {
        using host = await NvmeHost.attach(stage, memory)
        const guest = new Guest(host, stage, memory)
        await guest.start()
        for (const each of lies) await mislead(guest, each)
        await check(stage, host)
        host.client.detach()
        await stage.served.idle()
      },
    )
    await fc.assert(property, OPTIONS)
  })
}

/** Does what a liar does, who waits for nothing but registers. */
async function mislead(guest: Guest, each: Lie): Promise<void> {
  const { host } = guest
  if ('doorbell' in each) host.client.region(0).postU32(0x1000 + 4 * each.doorbell, each.tail)
  else if ('word' in each) {
    if (host.shadows === undefined) return
    host.view.setUint32(host.shadows.values - MEMORY + 4 * (each.word % 12), each.stored, true)
  } else if ('admin' in each) {
    host.put(host.admin, each.admin)
    host.ring(host.admin)
  } else if ('sqes' in each) {
    const queue = host.queue(each.queue)
    for (const sqe of each.sqes) host.put(queue, sqe)
    host.ring(queue)
    host.reap(queue)
  } else if ('renew' in each) {
    host.put(host.admin, { opcode: DELETE_SQ, cdw10: each.renew })
    host.put(host.admin, { opcode: DELETE_CQ, cdw10: each.renew })
    host.ring(host.admin)
  } else if ('reset' in each) {
    if (each.reset === 'shadows') {
      const pages = { values: DATA, events: DATA + PAGE }
      host.put(host.admin, { opcode: 0x7c, prp1: pages.values, prp2: pages.events })
      host.ring(host.admin)
      host.shadows = pages
    } else if (each.reset === 'device') {
      await host.client.reset()
      await host.masterBus(true)
      await guest.start()
    } else {
      await host.set(CC, 0)
      await host.set(CC, CC_ENABLE) // without waiting, with what is in the queues
    }
  } else await guest.perform(each)
  await host.get(CSTS)
}
