/** Device states, and the stream of a device's state: sections 13, 14.2, 14.3 and 19 of the reference. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { EventFd } from '../../src/os/eventfd.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { runChecks } from '../../src/vfio-user/conformance/run.ts'
import { openFds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import {
  LEVEL,
  MigratableDevice,
  type MigratableOptions,
  serveMigratable,
} from '../support/vfio-user-migratable.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DEVICE_FEATURE,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  feature,
  GET,
  GET_INFO,
  GET_IRQ_INFO,
  GET_REGION_INFO,
  irqSet,
  message,
  MIG_DATA_READ,
  MIG_DATA_WRITE,
  NO_REPLY,
  QEMU_JSON,
  RawClient,
  type RawReply,
  REGION_READ,
  REGION_WRITE,
  REGION_WRITE_MULTI,
  RESET,
  SET,
  SET_IRQS,
  u16,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { Served } from '../support/vfio-user-served.ts'

const MIG_DEVICE_STATE = 2
const GET_REGION_IO_FDS = 6
const MIB = 1048576

/** Section 14.2. */
const STATE = { ERROR: 0, STOP: 1, RUNNING: 2, STOP_COPY: 3, RESUMING: 4, PRE_COPY: 6 } as const
type Name = keyof typeof STATE
const NAMES = ['STOP', 'RUNNING', 'STOP_COPY', 'RESUMING', 'PRE_COPY'] as const

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
/** Whatever the test has left, the next one finds a device that runs, in its power-on state. */
afterEach(async () => {
  await reattach()
  await go('RESUMING')
  assertSuccess(await client.request(RESET))
  client.close()
  await served.idle()
})

async function reattach(json = QEMU_JSON): Promise<void> {
  client.close()
  await served.idle()
  client = await RawClient.attach(served.path, json)
}

function setState(to: Name | number): Promise<RawReply> {
  const state = typeof to === 'number' ? to : STATE[to]
  return client.request(DEVICE_FEATURE, feature(SET | MIG_DEVICE_STATE, u32(state, 0)))
}

async function stateNow(): Promise<number> {
  const reply = await client.request(DEVICE_FEATURE, feature(GET | MIG_DEVICE_STATE))
  assertSuccess(reply)
  assert.deepEqual(reply.payload.subarray(0, 8), u32(16, GET | MIG_DEVICE_STATE))
  assert.equal(reply.payload.readUInt32LE(12), 0, 'data_fd')
  return reply.payload.readUInt32LE(8)
}

async function go(to: Name): Promise<void> {
  assertSuccess(await setState(to))
  assert.equal(await stateNow(), STATE[to])
}

function migRead(size: number, argsz = 8 + size): Promise<RawReply> {
  return client.request(MIG_DATA_READ, u32(argsz, size))
}

function migWrite(data: Uint8Array, size = data.length): Promise<RawReply> {
  return client.request(MIG_DATA_WRITE, Buffer.concat([u32(8 + data.length, size), data]))
}

/** The whole stream, in reads of `step` bytes; the device is in STOP_COPY. */
async function readAll(step: number): Promise<Buffer> {
  const parts: Buffer[] = []
  for (;;) {
    const reply = await migRead(step)
    assertSuccess(reply)
    const data = reply.payload.subarray(8)
    assert.deepEqual(reply.payload.subarray(0, 8), u32(8 + data.length, data.length))
    parts.push(data)
    if (data.length < step) return Buffer.concat(parts)
  }
}

async function writeAll(stream: Buffer, step: number): Promise<void> {
  for (let at = 0; at < stream.length; at += step) {
    const reply = await migWrite(stream.subarray(at, at + step))
    assertSuccess(reply)
    assert.equal(reply.size, 16)
  }
}

/** Section 14.2, the second table: which of the ways from the left to the top there are. */
const REACHABLE: Record<(typeof NAMES)[number], readonly Name[]> = {
  STOP: ['STOP', 'RUNNING', 'STOP_COPY', 'RESUMING', 'PRE_COPY'],
  RUNNING: ['STOP', 'RUNNING', 'STOP_COPY', 'RESUMING', 'PRE_COPY'],
  STOP_COPY: ['STOP', 'RUNNING', 'STOP_COPY', 'RESUMING'],
  RESUMING: ['STOP', 'RUNNING', 'STOP_COPY', 'RESUMING', 'PRE_COPY'],
  PRE_COPY: ['STOP', 'RUNNING', 'STOP_COPY', 'RESUMING', 'PRE_COPY'],
}

describe('MIG_DEVICE_STATE', () => {
  test('is RUNNING at first', async () => {
    assert.equal(await stateNow(), 2)
  })

  for (const from of NAMES) {
    for (const to of NAMES) {
      const can = REACHABLE[from].includes(to)
      test(`goes from ${from} to ${to}: ${can ? 'done when it is answered' : 'EINVAL'}`, async () => {
        await go(from)
        const reply = await setState(to)
        if (can) assertSuccess(reply)
        else assertRefused(reply, 'EINVAL')
        assert.equal(await stateNow(), STATE[can ? to : from])
      })
    }

    // ERROR, RUNNING_P2P, PRE_COPY_P2P, unknown
    for (const bad of [0, 5, 7, 8, 0xffffffff]) {
      test(`does not go from ${from} to ${bad}: EINVAL, and it stays`, async () => {
        await go(from)
        assertRefused(await setState(bad), 'EINVAL')
        assert.equal(await stateNow(), STATE[from])
      })
    }
  }

  test('stays in the state before the hop that fails, and says why', async (t) => {
    t.mock.method(device, 'save', () => {
      throw new Error('a bug of the driver')
    })
    assertRefused(await setState('STOP_COPY'), 'EIO')
    assert.equal(await stateNow(), STATE.STOP)
    await go('RUNNING')
    await go('PRE_COPY')
    assertRefused(await setState('STOP_COPY'), 'EIO')
    assert.equal(await stateNow(), STATE.PRE_COPY)
  })

  for (const state of NAMES) {
    test(`${state} is still so for the next client`, async () => {
      await go(state)
      await reattach()
      assert.equal(await stateNow(), STATE[state])
    })
  }
})

const NONE = Buffer.alloc(0)

/** Commands, and whether they are let through in STOP and in STOP_COPY (section 14.2). */
const COMMANDS: readonly [
  title: string,
  command: number,
  payload: Buffer,
  inStop: boolean,
  inStopCopy: boolean,
][] = [
  ['REGION_READ of a BAR', REGION_READ, access(0, 0, 4), true, false],
  ['REGION_READ of BAR 5', REGION_READ, access(5, 0, 0), false, false], // it is not there
  ['REGION_READ of config space', REGION_READ, access(7, 0, 4), true, true],
  ['REGION_WRITE to a BAR', REGION_WRITE, access(0, 0, 1, Buffer.of(7)), true, false],
  ['REGION_WRITE to config space', REGION_WRITE, access(7, 0x3c, 1, Buffer.of(7)), true, true],
  ['DEVICE_FEATURE', DEVICE_FEATURE, feature(GET | MIG_DEVICE_STATE), true, true],
  ['MIG_DATA_READ', MIG_DATA_READ, u32(16, 8), false, true], // nothing to be read in STOP
  ['MIG_DATA_WRITE', MIG_DATA_WRITE, u32(12, 4, 0), false, false],
  ['REGION_WRITE_MULTI', REGION_WRITE_MULTI, u64(0), false, false],
  ['DMA_MAP', DMA_MAP, dmaMap(), false, false],
  ['DMA_UNMAP', DMA_UNMAP, dmaUnmap({ flags: 2, size: 0 }), false, false],
  ['GET_INFO', GET_INFO, u32(16, 0, 0, 0), false, false],
  ['GET_REGION_INFO', GET_REGION_INFO, Buffer.concat([u32(32, 0, 0, 0), u64(0, 0)]), false, false],
  ['GET_REGION_IO_FDS', GET_REGION_IO_FDS, u32(16, 0, 0, 0), false, false],
  ['GET_IRQ_INFO', GET_IRQ_INFO, u32(16, 0, 0, 0), false, false],
  ['SET_IRQS', SET_IRQS, irqSet(0x21, 0, 0, 0), false, false],
  ['DEVICE_RESET', RESET, NONE, false, false],
  ['command 99', 99, NONE, false, false],
]

describe('a device that is stopped', () => {
  for (const [title, command, payload, inStop, inStopCopy] of COMMANDS) {
    for (const [state, passes] of [
      ['STOP', inStop],
      ['STOP_COPY', inStopCopy],
    ] as const) {
      test(`${passes ? 'answers' : 'refuses with EINVAL'} ${title} in ${state}`, async () => {
        await go(state)
        const reply = await client.request(command, payload)
        if (passes) assertSuccess(reply)
        else assertRefused(reply, 'EINVAL')
        assert.equal(await stateNow(), STATE[state])
      })
    }
  }

  test('refuses a posted write in silence, in STOP_COPY', async () => {
    await go('STOP_COPY')
    const request = message(REGION_WRITE, access(0, 0, 1, Buffer.of(7)), { flags: NO_REPLY })
    await client.send(request)
    assert.equal(await stateNow(), STATE.STOP_COPY)
    assert.equal(device.scratch[0], 0)
  })

  for (const state of ['RUNNING', 'PRE_COPY', 'RESUMING'] as const) {
    test(`answers everything in ${state}`, async () => {
      await go(state)
      for (const [, command, payload, inStop] of COMMANDS) {
        if (command === RESET || command === MIG_DATA_READ || command === MIG_DATA_WRITE) continue
        if (!inStop && (command === 99 || command === REGION_READ || command === GET_REGION_IO_FDS))
          continue // refused in any state
        assertSuccess(await client.request(command, payload))
      }
    })
  }

  test('interrupts no more, and sends what is due when it runs again', async () => {
    using eventfd = EventFd.create()
    const assign = irqSet(0x24, 0, 0, 1)
    assertSuccess(await client.request(SET_IRQS, assign, { fds: [eventfd.fd] }))
    await go('STOP')
    assertSuccess(await client.request(REGION_WRITE, access(0, LEVEL, 1, Buffer.of(1))))
    assert.equal(eventfd.drain(), false)
    await go('RUNNING')
    assert.equal(eventfd.drain(), true)
  })

  test('reaches no memory', async () => {
    assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // Bus Master Enable
    assertSuccess(await client.request(DMA_MAP, dmaMap()))
    for (const state of ['STOP', 'STOP_COPY', 'RESUMING'] as const) {
      await go(state)
      assert.throws(() => device.dma.view(0, 1), { code: 'EAGAIN' })
      assert.throws(() => device.dma.read(0, new Uint8Array(1)), { code: 'EAGAIN' })
      assert.throws(() => device.dma.write(0, new Uint8Array(1)), { code: 'EAGAIN' })
    }
    await reattach()
    await go('STOP')
    client.close()
    await served.idle()
    assert.throws(() => device.dma.read(0, new Uint8Array(1)), { code: 'EFAULT' })
  })
})

describe('DEVICE_RESET', () => {
  for (const state of ['RUNNING', 'PRE_COPY', 'RESUMING'] as const) {
    test(`leads from ${state} to RUNNING`, async () => {
      await go(state)
      assertSuccess(await client.request(REGION_WRITE, access(0, 3, 1, Buffer.of(9))))
      assertSuccess(await client.request(RESET))
      assert.equal(await stateNow(), STATE.RUNNING)
      assert.equal(device.scratch[3], 0)
      assert.equal(device.resets.at(-1), 'device')
    })
  }

  test('forgets what was written in RESUMING', async () => {
    await go('RESUMING')
    assertSuccess(await migWrite(Buffer.from('no state')))
    assertSuccess(await client.request(RESET))
    await go('RESUMING')
    await go('STOP')
  })
})

describe('a client that goes', () => {
  for (const state of ['STOP', 'STOP_COPY', 'RESUMING'] as const) {
    test(`leaves the device as it is in ${state}`, async () => {
      assertSuccess(await client.request(REGION_WRITE, access(0, 3, 1, Buffer.of(9))))
      await go(state)
      const resets = device.resets.length
      client.close()
      await served.idle()
      assert.equal(device.resets.length, resets)
      assert.equal(device.scratch[3], 9)
      await reattach()
      assert.equal(await stateNow(), STATE[state])
    })
  }

  for (const state of ['RUNNING', 'PRE_COPY'] as const) {
    test(`has the device reset in ${state}, as ever`, async () => {
      assertSuccess(await client.request(REGION_WRITE, access(0, 3, 1, Buffer.of(9))))
      await go(state)
      client.close()
      await served.idle()
      assert.equal(device.resets.at(-1), 'disconnect')
      assert.equal(device.scratch[3], 0)
      await reattach()
      assert.equal(await stateNow(), STATE[state])
    })
  }

  test('can be followed by one that reads the rest of the stream', async () => {
    await go('STOP_COPY')
    const whole = await readAll(MIB)
    await go('STOP')
    await go('STOP_COPY')
    const first = (await migRead(100)).payload.subarray(8)
    await reattach()
    assert.deepEqual(Buffer.concat([first, await readAll(50)]), whole)
  })

  test('can be followed by one that writes the rest of the stream', async () => {
    device.scratch.fill(0x77)
    await go('STOP_COPY')
    const whole = await readAll(MIB)
    await go('RESUMING')
    device.scratch.fill(0)
    await writeAll(whole.subarray(0, 100), 100)
    await reattach()
    await writeAll(whole.subarray(100), 64)
    await go('RUNNING')
    assert.deepEqual(device.scratch, Buffer.alloc(256, 0x77))
  })

  test('takes its fds and maps along in every state', async () => {
    client.close()
    await served.idle()
    const before = openFds().length
    for (const state of NAMES) {
      client = await RawClient.attach(served.path)
      await go('RUNNING')
      using eventfd = EventFd.create()
      assertSuccess(await client.request(SET_IRQS, irqSet(0x24, 0, 0, 1), { fds: [eventfd.fd] }))
      assertSuccess(await client.request(DMA_MAP, dmaMap()))
      await go(state)
      client.close()
      await served.idle()
      eventfd.close()
      assert.equal(openFds().length, before)
      assert.deepEqual(resourcesOf().shared, [])
    }
  })
})

describe('MIG_DATA_READ', () => {
  for (const step of [1, 7, 100, MIB]) {
    test(`gives the state in reads of ${step} bytes; fewer say that it is the end`, async () => {
      device.scratch.fill(0x5a)
      await go('STOP_COPY')
      const stream = await readAll(step)
      assert.ok(stream.length > 256)
      assert.ok(stream.includes(Buffer.alloc(256, 0x5a)))
      const reply = await migRead(step)
      assertSuccess(reply)
      assert.deepEqual(reply.payload, u32(8, 0), 'nothing more')
    })
  }

  test('of 0 bytes gives none, and loses none', async () => {
    await go('STOP_COPY')
    assert.deepEqual((await migRead(0)).payload, u32(8, 0))
    assert.ok((await readAll(MIB)).length > 256)
  })

  test('gives the state as it was when it stopped', async () => {
    await go('STOP_COPY')
    device.scratch.fill(0x33)
    assert.ok(!(await readAll(MIB)).includes(0x33))
  })

  test('gives nothing ahead of time in PRE_COPY, and all of it in STOP_COPY', async () => {
    await go('PRE_COPY')
    assert.deepEqual((await migRead(4096)).payload, u32(8, 0))
    await go('STOP_COPY')
    assert.ok((await readAll(MIB)).length > 256)
  })

  test('takes an argsz that is larger', async () => {
    await go('STOP_COPY')
    const reply = await migRead(4, 0xffffffff)
    assert.deepEqual(reply.payload.subarray(0, 8), u32(12, 4))
  })

  for (const [title, payload] of [
    ['no payload', NONE],
    ['a payload of 7 bytes', u32(16, 8).subarray(0, 7)],
    ['a payload of 9 bytes', Buffer.concat([u32(16, 8), Buffer.of(0)])],
    ['argsz 0', u32(0, 8)],
    ['argsz 7', u32(7, 0)],
    ['an argsz of one too few', u32(15, 8)],
    ['a MiB and a byte', u32(8 + MIB + 1, MIB + 1)],
    ['4 GiB', u32(0xffffffff, 0xffffffff)],
  ] as const) {
    test(`refuses ${title} with EINVAL, and loses nothing`, async () => {
      await go('STOP_COPY')
      assertRefused(await client.request(MIG_DATA_READ, payload), 'EINVAL')
      assert.ok((await readAll(MIB)).length > 256)
    })
  }

  test("refuses more than the client's own max_data_xfer_size", async () => {
    await reattach('{"capabilities":{"max_data_xfer_size":512}}')
    await go('STOP_COPY')
    assertRefused(await migRead(513), 'EINVAL')
    assertSuccess(await migRead(512))
  })

  test('refuses more than ours to a client that takes more', async () => {
    await reattach('{"capabilities":{"max_data_xfer_size":67108864}}')
    await go('STOP_COPY')
    assertRefused(await migRead(MIB + 1), 'EINVAL')
    assertSuccess(await migRead(MIB))
  })

  for (const state of ['RUNNING', 'STOP', 'RESUMING'] as const) {
    test(`is EINVAL in ${state}`, async () => {
      await go(state)
      assertRefused(await migRead(8), 'EINVAL')
      assert.equal(await stateNow(), STATE[state])
    })
  }
})

describe('MIG_DATA_WRITE', () => {
  for (const [title, payload] of [
    ['no payload', NONE],
    ['a payload of 7 bytes', u32(8, 0).subarray(0, 7)],
    ['a size above what is there', u32(16, 8, 0)],
    ['a size below what is there', u32(8, 0, 0)],
    ['argsz 7', u32(7, 0)],
    ['4 GiB', u32(0xffffffff, 0xffffffff)],
    ['a MiB and a byte', Buffer.concat([u32(8 + MIB + 1, MIB + 1), Buffer.alloc(MIB + 1)])],
  ] as const) {
    test(`refuses ${title} with EINVAL, and takes nothing of it`, async () => {
      await go('RESUMING')
      assertRefused(await client.request(MIG_DATA_WRITE, payload), 'EINVAL')
      await go('STOP') // where anything would have been refused
    })
  }

  test('takes a MiB, and no byte', async () => {
    await go('RESUMING')
    for (const data of [Buffer.alloc(MIB), NONE]) {
      const reply = await migWrite(data)
      assertSuccess(reply)
      assert.equal(reply.size, 16)
    }
  })

  for (const state of ['RUNNING', 'PRE_COPY', 'STOP', 'STOP_COPY'] as const) {
    test(`is EINVAL in ${state}`, async () => {
      await go(state)
      assertRefused(await migWrite(Buffer.alloc(8)), 'EINVAL')
      assert.equal(await stateNow(), STATE[state])
    })
  }

  for (const step of [1, 13, MIB]) {
    test(`takes a state back in writes of ${step} bytes`, async () => {
      device.scratch.set(Buffer.from('what the guest wrote'))
      assertSuccess(await client.request(REGION_WRITE, access(0, LEVEL, 1, Buffer.of(1))))
      await go('STOP_COPY')
      const stream = await readAll(MIB)
      await go('RUNNING')
      assertSuccess(await client.request(RESET))
      await go('RESUMING')
      await writeAll(stream, step)
      await go('RUNNING')
      assert.equal(device.scratch.toString('utf8', 0, 20), 'what the guest wrote')
      const { payload } = await client.request(REGION_READ, access(7, 6, 2))
      assert.equal(payload.readUInt16LE(16) & 8, 8, 'Interrupt Status')
    })
  }
})

describe('a stream that is bad', () => {
  test('is refused at RESUMING to STOP, whatever it goes to, and a reset helps', async () => {
    await go('RESUMING')
    assertSuccess(await migWrite(Buffer.from('anything but a state, as long as it takes it')))
    for (const to of ['STOP', 'RUNNING', 'STOP_COPY', 'PRE_COPY'] as const) {
      assertRefused(await setState(to), 'EINVAL')
      assert.equal(await stateNow(), STATE.RESUMING)
    }
    assertSuccess(await client.request(RESET))
    assert.equal(await stateNow(), STATE.RUNNING)
    await client.assertAlive()
  })

  test('in one bit or length, or any bytes: the device runs by its state, or by a reset', async () => {
    device.scratch.fill(0x61)
    await go('STOP_COPY')
    const good = await readAll(MIB)
    const streams = fc.oneof(
      fc
        .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
        .map((changes) => {
          const bytes = Buffer.from(good)
          for (const [at, byte] of changes) bytes[at] = byte
          return bytes
        }),
      fc.nat(good.length - 1).map((length) => good.subarray(0, length)),
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
      fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.concat([good, bytes])),
    )
    await fc.assert(
      fc.asyncProperty(streams, fc.integer({ min: 20, max: 500 }), async (stream, step) => {
        await go('RESUMING')
        await writeAll(stream, step)
        const reply = await setState('RUNNING')
        if (reply.error === 0) {
          assertSuccess(reply)
        } else {
          assertRefused(reply, 'EINVAL')
          assert.equal(await stateNow(), STATE.RESUMING)
          assertSuccess(await client.request(RESET))
        }
        await client.assertAlive()
        const { payload } = await client.request(REGION_READ, access(7, 0, 4))
        assert.deepEqual(payload.subarray(16), u32(0xbe14_1b36))
      }),
      { numRuns: 200 },
    )
  })
})

/** Takes a device's state to another device, as two hosts would. */
async function move(from: MigratableOptions, to: MigratableOptions) {
  const source = await serveMigratable(from)
  const target = await serveMigratable(to)
  using sourceServed = source.served
  using targetServed = target.served
  const [one, other] = [
    await Client.attach(sourceServed.path),
    await Client.attach(targetServed.path),
  ]
  try {
    source.device.scratch.fill(0x42)
    const state = await one.migration.save()
    assert.equal(await one.migration.state(), 'stop-copy')
    await other.migration.load(state)
    assert.equal(await other.migration.state(), 'stop')
    await other.migration.go('running')
    return { source: source.device, target: target.device, state }
  } finally {
    one.detach()
    other.detach()
    await Promise.all([source.served.idle(), target.served.idle()])
  }
}

describe('Client.migration', () => {
  test('moves a device to another host', async () => {
    const { state, target } = await move({}, {})
    assert.ok(state.length > 256)
    assert.deepEqual(target.loaded, [2])
  })

  test('moves a state of several MiB', async () => {
    const { state, target } = await move({ size: 3 * MIB }, { size: 3 * MIB })
    assert.ok(state.length > 3 * MIB)
    assert.deepEqual(target.loaded, [2])
  })

  test('moves an older state to a newer driver', async () => {
    const { target } = await move({ version: 1 }, { version: 2 })
    assert.deepEqual(target.loaded, [1])
  })

  for (const [title, from, to] of [
    ['a later version', { version: 3 }, {}],
    ['another driver', { id: 'other' }, {}],
    ['another device', { device: 0xbe15 }, {}],
    ['another size', { size: 255 }, {}],
  ] as const) {
    test(`is refused a state of ${title}: EINVAL`, async () => {
      await assert.rejects(move(from, to), { code: 'EINVAL' })
    })
  }

  test('says what the device can do', async () => {
    client.close()
    await served.idle()
    const ours = await Client.attach(served.path)
    assert.equal(await ours.migration.flags(), 5)
    assert.equal(await ours.migration.state(), 'running')
    await ours.migration.go('pre-copy')
    assert.equal((await ours.migration.read(4096)).length, 0)
    await assert.rejects(ours.migration.write(Buffer.alloc(1)), { code: 'EINVAL' })
    await assert.rejects(ours.migration.go('error'), { code: 'EINVAL' })
    ours.detach()
  })
})

test('a device that can migrate passes the conformance suite', async () => {
  const migratable = new MigratableDevice()
  using other = await Served.start(migratable.driver)
  const { results } = await runChecks({ path: other.path, destructive: true })
  const failed = results.filter(({ result }) => result === 'fail')
  assert.deepEqual(failed, [])
  const migration = results.filter(({ id }) => /^(migration|features)\./.test(id))
  assert.ok(migration.length > 10)
  assert.deepEqual(
    migration.filter(({ result }) => result !== 'pass').map(({ id }) => id),
    [],
  )
})

test('a driver whose hook cannot be used is refused: EINVAL', async () => {
  const migratable = new MigratableDevice({ id: '' })
  await assert.rejects(Served.start(migratable.driver), { code: 'EINVAL' })
})
