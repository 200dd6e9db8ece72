/** DEVICE_SET_IRQS: sections 10.2, 10.3 and 19 of the reference, with real eventfds. */
import assert from 'node:assert/strict'
import { readSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { EventFd } from '../../src/os/eventfd.ts'
import { defineDriver } from '../../src/index.ts'
import {
  addToEventfd,
  Fds,
  makeBlockingEventfd,
  makeMemfd,
  makePipe,
  makeTimerfd,
  openFds,
} from '../support/fds.ts'
import {
  MSI_VECTORS,
  MSIX_BAR,
  MSIX_PBA,
  MSIX_VECTORS,
  REGISTER,
} from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  irqSet,
  RawClient,
  type RawReply,
  REGION_READ,
  REGION_WRITE,
  SET_IRQS,
  u16,
  u32,
} from '../support/vfio-user-raw.ts'
import { Served, serveTestDevice } from '../support/vfio-user-served.ts'

const NONE = 1
const BOOL = 2
const EVENTFD = 4
const MASK = 8
const UNMASK = 0x10
const TRIGGER = 0x20

const INTX = 0
const MSI = 1
const MSIX = 2
const ERR = 3
const REQ = 4

let served: Served
let client: RawClient
let fds: Fds
before(async () => {
  ;({ served } = await serveTestDevice())
})
after(() => served[Symbol.dispose]())
beforeEach(async () => {
  fds = new Fds()
  client = await RawClient.attach(served.path)
})
afterEach(async () => {
  client.close()
  await served.idle()
  fds[Symbol.dispose]()
})

function eventfd(): number {
  return fds.own(EventFd.create().fd)
}

/** How often an eventfd was signalled since it was last asked. */
function signals(fd: number): number {
  const counter = Buffer.alloc(8)
  try {
    readSync(fd, counter)
    return Number(counter.readBigUInt64LE())
  } catch {
    return 0 // EAGAIN
  }
}

async function set(
  flags: number,
  index: number,
  start: number,
  count: number,
  { data = [] as readonly number[], given = [] as readonly number[] } = {},
): Promise<RawReply> {
  return client.request(SET_IRQS, irqSet(flags, index, start, count, data), { fds: given })
}

async function accept(...args: Parameters<typeof set>): Promise<void> {
  const reply = await set(...args)
  assertSuccess(reply)
  assert.equal(reply.size, 16)
}

async function assign(index: number, start: number, given: readonly number[]): Promise<void> {
  await accept(EVENTFD | TRIGGER, index, start, given.length, { given })
}

async function write(region: number, offset: number, data: Buffer): Promise<void> {
  assertSuccess(await client.request(REGION_WRITE, access(region, offset, data.length, data)))
}

const setLine = (level: 0 | 1) => write(0, REGISTER.intx, u32(level))

async function pending(): Promise<number> {
  const reply = await client.request(REGION_READ, access(MSIX_BAR, MSIX_PBA, 4))
  return reply.payload.readUInt32LE(16)
}

describe('SET_IRQS, INTx', () => {
  test('signals the eventfd once when the line rises, and masks itself', async () => {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    assert.equal(signals(fd), 0)
    await setLine(1)
    assert.equal(signals(fd), 1)
    await setLine(0)
    await setLine(1)
    assert.equal(signals(fd), 0, 'it is masked')
  })

  test('UNMASK signals again while the line is high', async () => {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await setLine(1)
    for (let i = 0; i < 3; i++) {
      assert.equal(signals(fd), 1)
      await accept(NONE | UNMASK, INTX, 0, 1)
    }
    assert.equal(signals(fd), 1)
  })

  test('UNMASK of a low line signals nothing, and lets the next rise through', async () => {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await setLine(1)
    await setLine(0)
    signals(fd)
    await accept(NONE | UNMASK, INTX, 0, 1)
    assert.equal(signals(fd), 0)
    await setLine(1)
    assert.equal(signals(fd), 1)
  })

  for (const [title, flags, data] of [
    ['NONE', NONE, []],
    ['BOOL 1', BOOL, [1]],
    ['BOOL 255', BOOL, [255]],
  ] as const) {
    test(`MASK and UNMASK with ${title} hold the interrupt back and let it go`, async () => {
      const fd = eventfd()
      await assign(INTX, 0, [fd])
      await accept(flags | MASK, INTX, 0, 1, { data })
      await setLine(1)
      assert.equal(signals(fd), 0)
      await accept(flags | UNMASK, INTX, 0, 1, { data })
      assert.equal(signals(fd), 1)
    })
  }

  test('MASK and UNMASK with BOOL 0 do nothing', async () => {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await accept(BOOL | MASK, INTX, 0, 1, { data: [0] })
    await setLine(1)
    assert.equal(signals(fd), 1)
    await accept(BOOL | UNMASK, INTX, 0, 1, { data: [0] })
    assert.equal(signals(fd), 0)
  })

  test('an eventfd that is assigned while the line is high is signalled at once', async () => {
    await setLine(1)
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    assert.equal(signals(fd), 1)
  })

  test('Interrupt Disable in the Command register holds it back; Status shows it', async () => {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await write(7, 4, u16(0x400))
    await setLine(1)
    assert.equal(signals(fd), 0)
    const status = await client.request(REGION_READ, access(7, 6, 2))
    assert.equal(status.payload.readUInt16LE(16) & 8, 8, 'Interrupt Status')
    await write(7, 4, u16(0))
    assert.equal(signals(fd), 1)
  })

  test('an eventfd that takes the place of another closes it, and is the one that is signalled', async () => {
    const [old, next] = [eventfd(), eventfd()]
    await assign(INTX, 0, [old])
    const before = openFds().length
    await assign(INTX, 0, [next])
    assert.equal(openFds().length, before)
    await setLine(1)
    assert.equal(signals(old), 0)
    assert.equal(signals(next), 1)
  })

  test('0x21 with count 0 closes the eventfd', async () => {
    const fd = eventfd()
    const before = openFds()
    await assign(INTX, 0, [fd])
    await accept(NONE | TRIGGER, INTX, 0, 0)
    assert.deepEqual(openFds(), before)
    await setLine(1)
    assert.equal(signals(fd), 0)
  })

  test('EVENTFD without fds takes the eventfd away, also when there is none', async () => {
    const fd = eventfd()
    const before = openFds()
    await accept(EVENTFD | TRIGGER, INTX, 0, 1)
    await assign(INTX, 0, [fd])
    await accept(EVENTFD | TRIGGER, INTX, 0, 1)
    assert.deepEqual(openFds(), before)
    await setLine(1)
    assert.equal(signals(fd), 0)
  })

  test("what QEMU's reset sends brings the interrupt back: disable, then assign", async () => {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await setLine(1)
    await accept(NONE | TRIGGER, INTX, 0, 0)
    signals(fd)
    await assign(INTX, 0, [fd])
    assert.equal(signals(fd), 1)
  })
})

describe('SET_IRQS, UNMASK by eventfd', () => {
  /** An INTx that has interrupted and is masked, and its resample eventfd. */
  async function interrupted(resample: number): Promise<number> {
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await accept(EVENTFD | UNMASK, INTX, 0, 1, { given: [resample] })
    await setLine(1)
    assert.equal(signals(fd), 1)
    return fd
  }

  /** So many answers later the server has looked at its eventfds too. */
  async function noticed(): Promise<void> {
    for (let i = 0; i < 20; i++) await client.assertAlive()
  }

  test('unmasks at each signal', async () => {
    const resample = eventfd()
    const fd = await interrupted(resample)
    for (let i = 0; i < 3; i++) {
      addToEventfd(resample, 1n)
      await noticed()
      assert.equal(signals(fd), 1, `signal ${i}`)
    }
    await setLine(0)
    addToEventfd(resample, 1n)
    await noticed()
    assert.equal(signals(fd), 0)
  })

  test('unmasks at once by an eventfd that was signalled before', async () => {
    const resample = eventfd()
    const fd = eventfd()
    await assign(INTX, 0, [fd])
    await setLine(1)
    assert.equal(signals(fd), 1)
    addToEventfd(resample, 1n)
    await accept(EVENTFD | UNMASK, INTX, 0, 1, { given: [resample] })
    await noticed()
    assert.equal(signals(fd), 1)
  })

  test('does not hang on a blocking eventfd', async () => {
    const resample = fds.own(makeBlockingEventfd())
    const fd = await interrupted(resample)
    for (let i = 0; i < 3; i++) {
      addToEventfd(resample, 1n)
      await noticed()
      assert.equal(signals(fd), 1, `signal ${i}`)
    }
  })

  test('ends without an fd, and with another', async () => {
    const resample = eventfd()
    const fd = await interrupted(resample)
    const before = openFds().length
    await accept(EVENTFD | UNMASK, INTX, 0, 1)
    assert.equal(openFds().length, before - 1)
    addToEventfd(resample, 1n)
    await noticed()
    assert.equal(signals(fd), 0)
    await accept(EVENTFD | UNMASK, INTX, 0, 1, { given: [eventfd()] })
    await accept(EVENTFD | UNMASK, INTX, 0, 1, { given: [eventfd()] })
    assert.equal(openFds().length, before + 2, 'two here, one there')
  })

  test('ends with 0x21, which closes it', async () => {
    const resample = eventfd()
    const fd = eventfd()
    const before = openFds()
    await assign(INTX, 0, [fd])
    await accept(EVENTFD | UNMASK, INTX, 0, 1, { given: [resample] })
    await accept(NONE | TRIGGER, INTX, 0, 0)
    assert.deepEqual(openFds(), before)
  })

  test('ends with the connection', async () => {
    const resample = eventfd()
    await interrupted(resample)
    const before = openFds().length
    client.close()
    await served.idle()
    // our socket and the server's, and its two eventfds
    assert.equal(openFds().length, before - 4)
  })
})

describe('SET_IRQS, MSI', () => {
  test('signals the vector that the device triggers, each time', async () => {
    const given = Array.from({ length: MSI_VECTORS }, () => eventfd())
    await assign(MSI, 0, given)
    await write(0, REGISTER.msi, u32(5))
    await write(0, REGISTER.msi, u32(5))
    assert.deepEqual(given.map(signals), [0, 0, 0, 0, 0, 2, 0, 0])
  })

  test('is lost while no eventfd is there', async () => {
    await write(0, REGISTER.msi, u32(0))
    const fd = eventfd()
    await assign(MSI, 0, [fd])
    assert.equal(signals(fd), 0)
  })

  test('0x21 with count 0 closes every eventfd', async () => {
    const given = Array.from({ length: MSI_VECTORS }, () => eventfd())
    const before = openFds()
    await assign(MSI, 0, given)
    await accept(NONE | TRIGGER, MSI, 0, 0)
    assert.deepEqual(openFds(), before)
  })
})

describe('SET_IRQS, MSI-X', () => {
  test('stays pending in the PBA until an eventfd comes, and goes out then', async () => {
    await write(0, REGISTER.msix, u32(1))
    await write(0, REGISTER.msix, u32(17))
    assert.equal(await pending(), (1 << 1) | (1 << 17))
    const fd = eventfd()
    await assign(MSIX, 17, [fd])
    assert.equal(signals(fd), 1)
    assert.equal(await pending(), 1 << 1)
  })

  test('is not pending while it can be sent', async () => {
    const fd = eventfd()
    await assign(MSIX, 3, [fd])
    await write(0, REGISTER.msix, u32(3))
    assert.equal(signals(fd), 1)
    assert.equal(await pending(), 0)
  })

  test('takes more vectors than fit into one message in several', async () => {
    const given = Array.from({ length: MSIX_VECTORS }, () => eventfd())
    await assign(MSIX, 0, given.slice(0, 16))
    await assign(MSIX, 16, given.slice(16))
    for (const vector of [0, 15, 16, MSIX_VECTORS - 1]) {
      await write(0, REGISTER.msix, u32(vector))
      assert.deepEqual(
        given.map(signals),
        given.map((_, i) => (i === vector ? 1 : 0)),
      )
    }
  })

  test('what QEMU sends when it enables: no fd, although nothing was assigned', async () => {
    await accept(EVENTFD | TRIGGER, MSIX, 0, 1)
    await accept(EVENTFD | TRIGGER, MSIX, 0, MSIX_VECTORS)
  })

  test('EVENTFD without fds takes away the vectors of its range, no others', async () => {
    const given = [eventfd(), eventfd(), eventfd()]
    await assign(MSIX, 4, given)
    await accept(EVENTFD | TRIGGER, MSIX, 5, 1)
    for (const vector of [4, 5, 6]) await write(0, REGISTER.msix, u32(vector))
    assert.deepEqual(given.map(signals), [1, 0, 1])
    assert.equal(await pending(), 1 << 5)
  })

  test('a bad fd among good ones changes nothing, and all are closed', async () => {
    const fd = eventfd()
    await assign(MSIX, 0, [fd])
    const others = [eventfd(), fds.own(makeMemfd(0)), eventfd()]
    const before = openFds()
    assertRefused(await set(EVENTFD | TRIGGER, MSIX, 0, 3, { given: others }), 'EINVAL')
    assert.deepEqual(openFds(), before)
    await write(0, REGISTER.msix, u32(0))
    assert.equal(signals(fd), 1)
  })
})

describe('SET_IRQS, loopback', () => {
  for (const [name, index, vectors] of [
    ['INTx', INTX, 1],
    ['MSI', MSI, MSI_VECTORS],
    ['MSI-X', MSIX, 16],
    ['ERR', ERR, 1],
    ['REQ', REQ, 1],
  ] as const) {
    test(`NONE fires a range of ${name}, BOOL those whose byte is set`, async () => {
      const given = Array.from({ length: vectors }, () => eventfd())
      await assign(index, 0, given)
      await accept(NONE | TRIGGER, index, 0, vectors)
      assert.deepEqual(
        given.map(signals),
        given.map(() => 1),
      )
      const data = given.map((_, i) => (i % 3 === 0 ? 0x80 : 0))
      await accept(BOOL | TRIGGER, index, 0, vectors, { data })
      assert.deepEqual(
        given.map(signals),
        data.map((byte) => (byte === 0 ? 0 : 1)),
      )
      await accept(NONE | TRIGGER, index, vectors - 1, 1)
      assert.equal(signals(given.at(-1) ?? -1), 1)
    })
  }

  test('of vectors without eventfds succeeds', async () => {
    await accept(NONE | TRIGGER, MSIX, 0, MSIX_VECTORS)
  })
})

describe('SET_IRQS, hostile eventfds', () => {
  for (const blocking of [true, false]) {
    test(`a ${blocking ? '' : 'non-'}blocking one whose counter is full does not hang the device`, async () => {
      const fd = blocking ? fds.own(makeBlockingEventfd()) : eventfd()
      addToEventfd(fd, 2n ** 64n - 2n)
      await assign(MSI, 0, [fd])
      await write(0, REGISTER.msi, u32(0))
      await accept(NONE | TRIGGER, MSI, 0, 1)
      await client.assertAlive()
    })
  }

  for (const [title, make] of [
    ['a pipe', () => makePipe().map((fd) => fds.own(fd))[1] ?? -1],
    ['a memfd', () => fds.own(makeMemfd(0))],
    ['a timerfd', () => fds.own(makeTimerfd())],
    ['a socket', () => client.fd],
  ] as const) {
    for (const action of [TRIGGER, UNMASK]) {
      test(`${title} is refused with EINVAL and closed, action 0x${action.toString(16)}`, async () => {
        const fd = make()
        const before = openFds()
        assertRefused(await set(EVENTFD | action, INTX, 0, 1, { given: [fd] }), 'EINVAL')
        assert.deepEqual(openFds(), before)
        await client.assertAlive()
      })
    }
  }
})

/** flags, index, start, count, then bytes of data. */
const REFUSED: readonly [title: string, args: readonly number[]][] = [
  ['index 5 of 5', [NONE | TRIGGER, 5, 0, 0]],
  ['index 2^32 - 1', [NONE | TRIGGER, 2 ** 32 - 1, 0, 0]],
  ['no flags', [0, INTX, 0, 1]],
  ['no data type', [TRIGGER, INTX, 0, 1]],
  ['no action', [NONE, INTX, 0, 1]],
  ['two data types', [NONE | BOOL | TRIGGER, INTX, 0, 1, 1]],
  ['three data types', [NONE | BOOL | EVENTFD | TRIGGER, INTX, 0, 1, 1]],
  ['two actions', [NONE | MASK | UNMASK, INTX, 0, 1]],
  ['three actions', [NONE | MASK | UNMASK | TRIGGER, INTX, 0, 1]],
  ['flag 0x40', [NONE | TRIGGER | 0x40, INTX, 0, 1]],
  ['flag 2^31', [NONE + TRIGGER + 2 ** 31, INTX, 0, 1]],
  ['a start at the end', [NONE | TRIGGER, INTX, 1, 1]],
  ['a start at the end of many', [NONE | TRIGGER, MSIX, MSIX_VECTORS, 1]],
  ['a start of 2^32 - 1', [NONE | TRIGGER, MSIX, 2 ** 32 - 1, 1]],
  ['start + count beyond the vectors', [NONE | TRIGGER, MSIX, MSIX_VECTORS - 1, 2]],
  ['start + count that wraps', [NONE | TRIGGER, MSIX, 2, 2 ** 32 - 1]],
  ['2^32 - 1 vectors', [NONE | TRIGGER, MSIX, 0, 2 ** 32 - 1]],
  ['2^32 - 1 vectors without fds', [EVENTFD | TRIGGER, MSIX, 0, 2 ** 32 - 1]],
  ['count 0 with a start', [NONE | TRIGGER, MSIX, 1, 0]],
  ['count 0 with MASK', [NONE | MASK, INTX, 0, 0]],
  ['count 0 with UNMASK', [NONE | UNMASK, INTX, 0, 0]],
  ['count 0 with BOOL', [BOOL | TRIGGER, INTX, 0, 0]],
  ['count 0 with EVENTFD', [EVENTFD | TRIGGER, INTX, 0, 0]],
  ['BOOL without data', [BOOL | TRIGGER, INTX, 0, 1]],
  ['BOOL with too few bytes', [BOOL | TRIGGER, MSI, 0, 3, 1, 1]],
  ['BOOL with too many bytes', [BOOL | TRIGGER, MSI, 0, 1, 1, 1]],
  ['MASK by eventfd', [EVENTFD | MASK, INTX, 0, 1]],
  ...[MSI, MSIX, ERR, REQ].flatMap((index): [string, readonly number[]][] => [
    [`MASK of index ${index}, which is not maskable`, [NONE | MASK, index, 0, 1]],
    [`UNMASK of index ${index}`, [NONE | UNMASK, index, 0, 1]],
    [`MASK with BOOL of index ${index}`, [BOOL | MASK, index, 0, 1, 1]],
    [`UNMASK with BOOL 0 of index ${index}`, [BOOL | UNMASK, index, 0, 1, 0]],
    [`UNMASK by eventfd of index ${index}`, [EVENTFD | UNMASK, index, 0, 1]],
  ]),
]

describe('SET_IRQS refuses', () => {
  for (const [title, [flags = 0, index = 0, start = 0, count = 0, ...data]] of REFUSED) {
    test(`${title} with EINVAL, keeps what was assigned, and lives`, async () => {
      const fd = eventfd()
      await assign(MSI, 0, [fd])
      assertRefused(await set(flags, index, start, count, { data }), 'EINVAL')
      assert.equal(signals(fd), 0)
      await write(0, REGISTER.msi, u32(0))
      assert.equal(signals(fd), 1)
    })
  }

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 19 bytes', irqSet(NONE | TRIGGER, INTX, 0, 1).subarray(0, 19)],
    ['argsz 19', irqSet(NONE | TRIGGER, INTX, 0, 1, [], 19)],
    ['argsz 0', irqSet(NONE | TRIGGER, INTX, 0, 1, [], 0)],
  ] as const) {
    test(`${title} with EINVAL, closes the fd, and lives`, async () => {
      const fd = eventfd()
      const before = openFds()
      assertRefused(await client.request(SET_IRQS, payload, { fds: [fd] }), 'EINVAL')
      assert.deepEqual(openFds(), before)
      await client.assertAlive()
    })
  }

  for (const [title, flags, count, given, data] of [
    ['1 fd for 2 vectors', EVENTFD | TRIGGER, 2, 1, []],
    ['2 fds for 1 vector', EVENTFD | TRIGGER, 1, 2, []],
    ['17 fds for 17 vectors', EVENTFD | TRIGGER, 17, 17, []],
    ['200 fds for 20 vectors', EVENTFD | TRIGGER, 20, 200, []],
    ['fds with NONE', NONE | TRIGGER, 1, 1, []],
    ['fds with NONE that disables', NONE | TRIGGER, 0, 1, []],
    ['fds with BOOL', BOOL | TRIGGER, 1, 1, [1]],
    ['an fd with EVENTFD and count 0', EVENTFD | TRIGGER, 0, 1, []],
  ] as const) {
    test(`${title} with EINVAL, closes them all, and lives`, async () => {
      const fd = eventfd()
      const before = openFds()
      const reply = await set(flags, MSIX, 0, count, {
        data,
        given: Array.from({ length: given }, () => fd),
      })
      assertRefused(reply, 'EINVAL')
      assert.deepEqual(openFds(), before)
      await client.assertAlive()
    })
  }

  test('nothing of argsz 20 + count with BOOL, or of a larger one', async () => {
    for (const argsz of [22, 4096]) {
      const request = irqSet(BOOL | TRIGGER, MSI, 0, 2, [0, 0], argsz)
      assertSuccess(await client.request(SET_IRQS, request))
    }
  })
})

describe('SET_IRQS on a device without interrupts', () => {
  const bare = defineDriver({
    name: 'bare',
    types: { 1: {} },
    probe(mdev) {
      mdev.pci({ vendor: 0x1b36, device: 0xbe12, class: 0xff_00_00 })
      return { reset: () => {} }
    },
  })

  test('accepts to disable what is not there, refuses all else with EINVAL', async () => {
    using bareServed = await Served.start(bare)
    using bareClient = await RawClient.attach(bareServed.path)
    for (const index of [INTX, MSI, MSIX]) {
      const disable = irqSet(NONE | TRIGGER, index, 0, 0)
      assertSuccess(await bareClient.request(SET_IRQS, disable))
      for (const flags of [NONE | TRIGGER, EVENTFD | TRIGGER, NONE | UNMASK]) {
        const reply = await bareClient.request(SET_IRQS, irqSet(flags, index, 0, 1))
        assertRefused(reply, 'EINVAL')
      }
    }
    await bareClient.assertAlive()
  })
})
