/** DEVICE_GET_REGION_IO_FDS: section 9 of the reference; and doorbells, which ring the same by eventfd and by message. */
import assert from 'node:assert/strict'
import { fstatSync, readlinkSync, writeSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { defineDriver } from '../../src/index.ts'
import { closeFd } from '../../src/os/fd.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { addToEventfd, openFds } from '../support/fds.ts'
import { BROKEN_DOORBELL, DOORBELLS, MappedDevice } from '../support/mapped-device.ts'
import { resourcesOf } from '../support/resources.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  GET_REGION_IO_FDS,
  message,
  NO_REPLY,
  RawClient,
  REGION_WRITE,
  RESET,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { Served } from '../support/vfio-user-served.ts'

const COUNT = DOORBELLS.length + 1
const ENTRY = 48
const ARGSZ = 16 + COUNT * ENTRY

let device: MappedDevice
let served: Served
before(async () => {
  device = new MappedDevice()
  served = await Served.start(device.driver)
})
after(() => served[Symbol.dispose]())
beforeEach(() => {
  device.rings.length = 0
  device.log.length = 0
  device.onRing = () => {}
})

function request(fields: { argsz?: number; flags?: number; index?: number; count?: number } = {}) {
  const { argsz = ARGSZ, flags = 0, index = 0, count = 0 } = fields
  return u32(argsz, flags, index, count)
}

const saying = (capabilities: object) => JSON.stringify({ capabilities })

/** Resolves when the driver has been rung so often since the test began. */
async function rung(count: number): Promise<void> {
  if (device.rings.length >= count) return
  await new Promise<void>((resolve) => {
    device.onRing = () => {
      if (device.rings.length >= count) resolve()
    }
  })
}

describe('DEVICE_GET_REGION_IO_FDS', () => {
  let client: RawClient
  const fds: number[] = []
  const attach = async (json?: string) => {
    client = await RawClient.attach(served.path, json)
  }
  const ask = async (payload = request()) => {
    const reply = await client.requestFds(GET_REGION_IO_FDS, payload)
    fds.push(...reply.fds)
    return reply
  }
  beforeEach(async () => attach())
  afterEach(async () => {
    client.close()
    for (const fd of fds.splice(0)) closeFd(fd)
    await served.idle()
  })

  test('answers one entry for each doorbell, one eventfd each, and one file for all values', async () => {
    const reply = await ask()
    assertSuccess(reply)
    const places = [...DOORBELLS, [BROKEN_DOORBELL, 4]] as const
    assert.deepEqual(
      reply.payload,
      Buffer.concat([
        u32(ARGSZ, 0, 0, COUNT),
        ...places.flatMap(([offset, width], i) => [
          u64(offset, width),
          u32(i, 2, 0, COUNT), // fd_index, type, flags, shadow fd index
          u64(8 * i, 0), // shadow offset, datamatch
        ]),
      ]),
    )
    assert.equal(reply.fds.length, COUNT + 1)
    for (const fd of reply.fds.slice(0, COUNT)) {
      assert.equal(readlinkSync(`/proc/self/fd/${fd}`), 'anon_inode:[eventfd]')
    }
    assert.equal(fstatSync(reply.fds[COUNT]!).size, 4096)
  })

  test('answers the same to a larger argsz and payload', async () => {
    const first = await ask()
    const second = await ask(Buffer.concat([request({ argsz: 2 ** 20 }), Buffer.alloc(1000)]))
    assert.deepEqual(second.payload, first.payload)
    assert.equal(second.fds.length, COUNT + 1)
  })

  for (const argsz of [16, ARGSZ - 1]) {
    test(`answers 16 bytes, what is needed, and no fd to argsz ${argsz}`, async () => {
      const before = openFds()
      const reply = await ask(request({ argsz }))
      assertSuccess(reply)
      assert.deepEqual(reply.payload, u32(ARGSZ, 0, 0, COUNT))
      assert.deepEqual(reply.fds, [])
      assert.deepEqual(openFds(), before, 'nothing was made for it')
    })
  }

  for (const index of [1, 2, 5, 7, 9]) {
    test(`answers count 0 for region ${index}, without doorbells`, async () => {
      const reply = await ask(request({ index, argsz: 4096 }))
      assertSuccess(reply)
      assert.deepEqual(reply.payload, u32(16, 0, index, 0))
      assert.deepEqual(reply.fds, [])
    })
  }

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 15 bytes', request().subarray(0, 15)],
    ['argsz 0', request({ argsz: 0 })],
    ['argsz 15', request({ argsz: 15 })],
    ['argsz 1 MiB + 1', request({ argsz: 2 ** 20 + 1 })],
    ['argsz 2^32 - 1', request({ argsz: 0xffff_ffff })],
    ['flags 1', request({ flags: 1 })],
    ['flags 2^31', request({ flags: 2 ** 31 })],
    ['count 1', request({ count: 1 })],
    ['region 3, the upper half of a BAR', request({ index: 3 })],
    ['region 6, which is not there', request({ index: 6 })],
    ['region 10 of 10', request({ index: 10 })],
    ['region 2^32 - 1', request({ index: 0xffff_ffff })],
  ] as const) {
    test(`refuses ${title} with EINVAL, and lives`, async () => {
      assertRefused(await ask(payload), 'EINVAL')
      assertSuccess(await ask())
    })
  }

  test('refuses a request that carries an fd with EINVAL', async () => {
    assertRefused(
      await client.request(GET_REGION_IO_FDS, request(), { fds: [client.fd] }),
      'EINVAL',
    )
  })

  for (const [maxFds, count] of [
    [0, 0],
    [1, 0], // an eventfd and the file of its value are two
    [2, 1],
    [COUNT, COUNT - 1],
    [COUNT + 1, COUNT],
    [2 ** 40, COUNT],
  ] as const) {
    test(`offers ${count} doorbells to a client that takes ${maxFds} fds`, async () => {
      client.close()
      await served.idle()
      await attach(saying({ max_msg_fds: maxFds }))
      const reply = await ask()
      assertSuccess(reply)
      assert.deepEqual(reply.payload.subarray(0, 16), u32(16 + count * ENTRY, 0, 0, count))
      assert.equal(reply.fds.length, count === 0 ? 0 : count + 1)
    })
  }

  test('with No_reply sends no fd', async () => {
    await client.send(message(GET_REGION_IO_FDS, request(), { flags: NO_REPLY }))
    assert.deepEqual((await ask(request({ argsz: 16 }))).fds, [])
  })

  test('makes its fds once for a client, and they are gone with it', async () => {
    await ask()
    client.close()
    for (const fd of fds.splice(0)) closeFd(fd)
    await served.idle()
    const before = resourcesOf()
    await attach()
    await ask()
    const during = openFds().length - fds.length
    await ask()
    await ask()
    assert.equal(openFds().length - fds.length, during)
    client.close()
    for (const fd of fds.splice(0)) closeFd(fd)
    await served.idle()
    const { fds: left, shared } = resourcesOf()
    assert.deepEqual({ left, shared }, { left: before.fds, shared: before.shared })
  })

  test('an eventfd that is kept rings nothing after its client has gone', async () => {
    const reply = await ask()
    client.close()
    await served.idle()
    addToEventfd(reply.fds[0]!, 1n)
    await attach()
    await client.request(REGION_WRITE, access(0, 0x10, 4, u32(5)))
    assert.deepEqual(device.rings, [[0x10, 5]])
  })

  test('a flood of signals rings with what stands in the shadow, and nothing else', async () => {
    const reply = await ask()
    const shadow = reply.fds[COUNT]!
    writeSync(shadow, Buffer.alloc(4096, 0xff))
    for (let i = 0; i < 1000; i++) addToEventfd(reply.fds[1]!, 1n)
    addToEventfd(reply.fds[1]!, 0xffff_ffff_ffff_fffen - 1000n) // the counter is full now
    await rung(1)
    for (const ring of device.rings) assert.deepEqual(ring, [0x22, 0xffff])
  })
})

test('a doorbell in I/O space has KVM’s flag for ports', async () => {
  using other = await Served.start(
    defineDriver({
      name: 'ports',
      types: { 1: {} },
      probe(mdev) {
        const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe16, class: 0xff_00_00 })
        pci.bar(3, { kind: 'io', size: 16 }, { read: () => 0, write: () => {} })
        pci.doorbell(3, { offset: 6, width: 2 }, () => {})
        return { reset: () => {} }
      },
    }),
  )
  using client = await RawClient.attach(other.path)
  const reply = await client.requestFds(GET_REGION_IO_FDS, request({ index: 3, argsz: 64 }))
  assert.deepEqual(
    reply.payload,
    Buffer.concat([u32(64, 0, 3, 1), u64(6, 2), u32(0, 2, 2, 1), u64(0, 0)]),
  )
  for (const fd of reply.fds) closeFd(fd)
})

describe('a doorbell', () => {
  let client: Client
  beforeEach(async () => {
    client = await Client.attach(served.path)
  })
  afterEach(async () => {
    client.detach()
    await served.idle()
  })

  /** What is rung, one after the other: offset, value, width. */
  const RUN = [
    [0x10, 1, 4],
    [0x10, 0xffff_ffff, 4],
    [0x10, 0xffff_ffff, 4], // the same again is a ring too
    [0x22, 0xfedc, 2],
    [0x31, 0x80, 1],
    [0x10, 0, 4],
  ] as const

  test('rings by eventfd as by message: the driver sees the same', async () => {
    const doorbells = await client.doorbells(0)
    assert.deepEqual(
      doorbells.byEventfd.map(({ offset, width }) => [offset, width]),
      [...DOORBELLS, [BROKEN_DOORBELL, 4]],
    )
    const writes = served.stats.regionWrites
    for (const [i, [offset, value, width]] of RUN.entries()) {
      doorbells.ring(offset, value, width)
      await rung(i + 1)
    }
    assert.equal(served.stats.regionWrites, writes, 'no message')
    const byEventfd = device.rings.splice(0)

    doorbells.close()
    for (const [offset, value, width] of RUN) doorbells.ring(offset, value, width)
    await client.info()
    assert.equal(served.stats.regionWrites, writes + RUN.length)
    assert.deepEqual(device.rings, byEventfd)
    assert.deepEqual(
      byEventfd,
      RUN.map(([offset, value]) => [offset, value]),
    )
    assert.deepEqual(device.log, [], 'the registers saw nothing')
  })

  test('that is rung often by eventfd is seen at least once, with the last value last', async () => {
    const doorbells = await client.doorbells(0)
    for (let value = 1; value <= 1000; value++) doorbells.ring(0x10, value)
    await new Promise<void>((resolve) => {
      device.onRing = () => {
        if (device.rings.at(-1)?.[1] === 1000) resolve()
      }
    })
    const values = device.rings.map(([, value]) => value)
    assert.deepEqual(
      values,
      values.toSorted((a, b) => a - b),
    )
  })

  test('is a place and a width: other accesses go to the registers', async () => {
    const doorbells = await client.doorbells(0)
    doorbells.ring(0x10, 0x1234, 2)
    doorbells.ring(0x12, 0x56, 1)
    doorbells.ring(0x14, 0x789a)
    assert.equal(await client.readRegister(0, 0x10, 4), 0xa000_0010)
    assert.deepEqual(device.log, [
      ['w', 0, 0x10, 2, 0x1234],
      ['w', 0, 0x12, 1, 0x56],
      ['w', 0, 0x14, 4, 0x789a],
      ['r', 0, 0x10, 4],
    ])
    assert.deepEqual(device.rings, [])
  })

  test('rings on after a reset', async () => {
    const doorbells = await client.doorbells(0)
    await client.request(RESET, new Uint8Array(0))
    doorbells.ring(0x10, 77)
    await rung(1)
    assert.deepEqual(device.rings, [[0x10, 77]])
  })

  test('that throws is logged, and ends neither client nor host', async () => {
    const doorbells = await client.doorbells(0)
    doorbells.ring(BROKEN_DOORBELL, 1)
    doorbells.ring(0x10, 2)
    await rung(1)
    await client.info()
    assert.ok(served.lines.some((line) => line.includes('a bug of the driver')))
    await assert.rejects(client.writeRegister(0, BROKEN_DOORBELL, 1, 4), { code: 'EIO' })
  })

  test('of a region without any rings by message, and without a region not at all', async () => {
    const doorbells = await client.doorbells(5)
    assert.deepEqual(doorbells.byEventfd, [])
    doorbells.ring(0x20, 0x0102_0304)
    await client.info()
    assert.deepEqual([...device.whole.bytes.subarray(0x20, 0x24)], [4, 3, 2, 1])
    await assert.rejects(client.doorbells(3), { code: 'EINVAL' })
    await assert.rejects(client.doorbells(99), { code: 'EINVAL' })
  })

  test('rings no more after detaching: ECONNRESET', async () => {
    const doorbells = await client.doorbells(0)
    assert.notDeepEqual(doorbells.byEventfd, [])
    client.detach()
    await served.idle()
    assert.throws(() => doorbells.ring(0x10, 1), { code: 'ECONNRESET' })
    doorbells.close()
    assert.deepEqual(device.rings, [])
  })

  test('leaves no fd and no mapping, however it ends', async () => {
    client.detach()
    await served.idle()
    const comeAndGo = async () => {
      const other = await Client.attach(served.path)
      const doorbells = await other.doorbells(0)
      await other.doorbells(0)
      doorbells.close()
      doorbells.close()
      const cut = other.doorbells(0)
      other.detach()
      await assert.rejects(cut, { code: 'ECONNRESET' })
      await served.idle()
    }
    await comeAndGo()
    const before = resourcesOf()
    for (let i = 0; i < 10; i++) await comeAndGo()
    const { fds, shared } = resourcesOf()
    assert.deepEqual({ fds, shared }, { fds: before.fds, shared: before.shared })
  })
})
