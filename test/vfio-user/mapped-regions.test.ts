/** Regions that a client maps: sections 8.2 to 8.4 of the reference, and what both ends see of the memory. */
import assert from 'node:assert/strict'
import { fstatSync, readSync, writeSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { closeFd } from '../../src/os/fd.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { runChecks } from '../../src/vfio-user/conformance/run.ts'
import { openFds } from '../support/fds.ts'
import {
  BIG_SIZE,
  MappedDevice,
  MSIX_OFFSET,
  OTHER_AREA,
  OWN_SIZE,
  OWN_TYPE,
  REGISTERS_SIZE,
  SMALL_SIZE,
  SPARSE_SIZE,
  WHOLE_SIZE,
} from '../support/mapped-device.ts'
import { resourcesOf } from '../support/resources.ts'
import {
  access,
  assertSuccess,
  GET_INFO,
  GET_REGION_INFO,
  message,
  NO_REPLY,
  QEMU_JSON,
  RawClient,
  type RawReply,
  REGION_READ,
  RESET,
  u16,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { Served, UUID } from '../support/vfio-user-served.ts'

// VFIO_REGION_INFO_FLAG_* of <linux/vfio.h>
const RW = 3
const MMAP = 4
const CAPS = 8
/** max_msg_fds, and whether the client takes areas of several files. */
const proposal = (maxFds: number, several: boolean) =>
  JSON.stringify({ capabilities: { max_msg_fds: maxFds, sparse_mmap_fds: several } })

let device: MappedDevice
let served: Served
before(async () => {
  device = new MappedDevice()
  served = await Served.start(device.driver)
})
after(() => served[Symbol.dispose]())

function request(index: number, argsz: number): Buffer {
  return Buffer.concat([u32(argsz, 0, index, 0), u64(0, 0)])
}

/** The fixed part: section 8.2. */
function info(fields: {
  argsz: number
  flags: number
  index: number
  capOffset?: number
  size: number
}): Buffer {
  const { argsz, flags, index, capOffset = 0, size } = fields
  return Buffer.concat([u32(argsz, flags, index, capOffset), u64(size, 0)])
}

/** The header of a capability, version 1: section 8.3. */
function header(id: number, next: number): Buffer {
  return Buffer.concat([u16(id, 1), u32(next)])
}

function closeFds({ fds }: RawReply): void {
  for (const fd of fds) closeFd(fd)
}

/** Sizes of the files that came; they are closed. */
function fileSizes(reply: RawReply): number[] {
  const sizes = reply.fds.map((fd) => fstatSync(fd).size)
  closeFds(reply)
  return sizes
}

describe('DEVICE_GET_REGION_INFO of a region with memory', () => {
  let client: RawClient
  const attach = async (json: string) => {
    client = await RawClient.attach(served.path, json)
  }
  const ask = async (index: number, argsz: number) => {
    const reply = await client.requestFds(GET_REGION_INFO, request(index, argsz))
    assertSuccess(reply)
    return reply
  }
  beforeEach(async () => attach(QEMU_JSON))
  afterEach(async () => {
    client.close()
    await served.idle()
  })

  test('all of it: 32 bytes, flag 4, one fd of its size, no capability', async () => {
    const reply = await ask(5, 32)
    assert.deepEqual(
      reply.payload,
      info({ argsz: 32, flags: RW | MMAP, index: 5, size: WHOLE_SIZE }),
    )
    assert.deepEqual(fileSizes(reply), [WHOLE_SIZE])
  })

  test('smaller than a page: the same, and its file is a page', async () => {
    const reply = await ask(1, 32)
    assert.deepEqual(
      reply.payload,
      info({ argsz: 32, flags: RW | MMAP, index: 1, size: SMALL_SIZE }),
    )
    assert.deepEqual(fileSizes(reply), [4096])
  })

  const MSIX_ARGSZ = 32 + 16 + 2 * 16 + 8

  test('with the MSI-X table: sparse around its page, and mappable', async () => {
    const reply = await ask(2, MSIX_ARGSZ)
    assert.deepEqual(
      reply.payload,
      Buffer.concat([
        info({
          argsz: MSIX_ARGSZ,
          flags: RW | MMAP | CAPS,
          index: 2,
          capOffset: 32,
          size: BIG_SIZE,
        }),
        header(1, 80),
        u32(2, 0),
        u64(0, MSIX_OFFSET),
        u64(MSIX_OFFSET + 0x1000, BIG_SIZE - MSIX_OFFSET - 0x1000),
        header(3, 0),
      ]),
    )
    assert.deepEqual(fileSizes(reply), [BIG_SIZE])
  })

  for (const argsz of [32, MSIX_ARGSZ - 1]) {
    test(`with argsz ${argsz}, too small: 32 bytes, flag 8 clear, cap_offset 0, no fd`, async () => {
      const reply = await ask(2, argsz)
      assert.deepEqual(
        reply.payload,
        info({ argsz: MSIX_ARGSZ, flags: RW | MMAP, index: 2, size: BIG_SIZE }),
      )
      assert.deepEqual(reply.fds, [])
    })
  }

  for (const argsz of [4064, 0xffff_ffff]) {
    test(`with argsz ${argsz}: as long as it needs to be`, async () => {
      const reply = await ask(2, argsz)
      assert.equal(reply.payload.length, MSIX_ARGSZ)
      assert.equal(reply.payload.readUInt32LE(), MSIX_ARGSZ)
      assert.equal(fileSizes(reply).length, 1)
    })
  }

  /** What fits into one file, whole pages of it. */
  const PLAIN = Buffer.concat([
    info({ argsz: 80, flags: RW | MMAP | CAPS, index: 4, capOffset: 32, size: SPARSE_SIZE }),
    header(1, 0),
    u32(2, 0),
    u64(0x1000, 0x1000),
    u64(0x5000, 0x2000),
  ])

  test('in parts: the whole pages of them that are of one file', async () => {
    const reply = await ask(4, 4096)
    assert.deepEqual(reply.payload, PLAIN)
    assert.deepEqual(fileSizes(reply), [0x7000])
  })

  test('in parts of two files: by capability 0x8001, to a client that announced it', async () => {
    client.close()
    await served.idle()
    await attach(proposal(2, true))
    const reply = await ask(4, 4096)
    assert.deepEqual(
      reply.payload,
      Buffer.concat([
        info({
          argsz: 144,
          flags: RW | MMAP | CAPS,
          index: 4,
          capOffset: 32,
          size: SPARSE_SIZE,
        }),
        header(0x8001, 0),
        u32(3, 0),
        // offset, fd_offset, size, then fd_index and 0
        u64(0x1000, 0x1000, 0x1000),
        u32(0, 0),
        u64(OTHER_AREA.offset, 0, OTHER_AREA.size),
        u32(1, 0),
        u64(0x5000, 0x5000, 0x2000),
        u32(0, 0),
      ]),
    )
    assert.deepEqual(fileSizes(reply), [0x7000, OTHER_AREA.size])
  })

  test('in one file: by capability 1 also to a client that announced 0x8001', async () => {
    client.close()
    await served.idle()
    await attach(proposal(8, true))
    const reply = await ask(2, 4096)
    assert.equal(reply.payload.readUInt16LE(32), 1)
    assert.equal(fileSizes(reply).length, 1)
  })

  for (const [title, json] of [
    ['takes one fd', proposal(1, true)],
    ['did not announce it', proposal(16, false)],
  ] as const) {
    test(`in parts of two files: those of one to a client that ${title}`, async () => {
      client.close()
      await served.idle()
      await attach(json)
      const reply = await ask(4, 4096)
      assert.deepEqual(reply.payload, PLAIN)
      assert.equal(fileSizes(reply).length, 1)
    })
  }

  test('of the device’s own: after the BARs, with its type', async () => {
    const counts = await client.request(GET_INFO, u32(16, 0, 0, 0))
    assert.deepEqual(counts.payload, u32(16, 3, 10, 5))
    const reply = await ask(9, 4096)
    assert.deepEqual(
      reply.payload,
      Buffer.concat([
        info({ argsz: 80, flags: RW | MMAP | CAPS, index: 9, capOffset: 32, size: OWN_SIZE }),
        header(1, 64),
        u32(1, 0),
        u64(0, 0x1000), // the whole pages of 0x1800 bytes
        header(2, 0),
        u32(OWN_TYPE.type, OWN_TYPE.subtype),
      ]),
    )
    assert.deepEqual(fileSizes(reply), [0x2000])
  })

  test('is not offered to a client that takes no fd', async () => {
    client.close()
    await served.idle()
    await attach(proposal(0, true))
    for (const [index, size] of [
      [1, SMALL_SIZE],
      [2, BIG_SIZE],
      [4, SPARSE_SIZE],
      [5, WHOLE_SIZE],
    ] as const) {
      const reply = await ask(index, 4096)
      assert.deepEqual(reply.payload, info({ argsz: 32, flags: RW, index, size }))
      assert.deepEqual(reply.fds, [])
    }
  })

  test('leaves the regions without memory as they are', async () => {
    for (const [index, size] of [
      [0, REGISTERS_SIZE],
      [7, 256],
    ] as const) {
      const reply = await ask(index, 4096)
      assert.deepEqual(reply.payload, info({ argsz: 32, flags: RW, index, size }))
      assert.deepEqual(reply.fds, [])
    }
  })

  test('with No_reply sends no fd', async () => {
    await client.send(message(GET_REGION_INFO, request(5, 32), { flags: NO_REPLY }))
    const reply = await client.request(GET_INFO, u32(16, 0, 0, 0))
    assertSuccess(reply)
  })

  test('comes with its fd although the replies before it do not fit into the socket', async () => {
    const size = BIG_SIZE
    const reads = 12
    await client.send(
      Buffer.concat([
        ...Array.from({ length: reads }, (_, id) =>
          message(REGION_READ, access(2, 0, size), { id }),
        ),
        message(GET_REGION_INFO, request(5, 32), { id: 100 }),
        message(GET_REGION_INFO, request(1, 32), { id: 101 }),
        message(GET_INFO, u32(16, 0, 0, 0), { id: 102 }),
      ]),
    )
    await client.received()
    const fds: number[] = []
    for (let id = 0; id < reads; id++) {
      const reply = await client.reply()
      assert.deepEqual([reply.id, reply.payload.length], [id, 16 + size])
      fds.push(...reply.fds)
    }
    for (const id of [100, 101, 102]) {
      const reply = await client.reply()
      assert.equal(reply.id, id)
      fds.push(...reply.fds)
    }
    assert.deepEqual(
      fds.map((fd) => fstatSync(fd).size),
      [WHOLE_SIZE, 4096],
    )
    for (const fd of fds) closeFd(fd)
  })
})

describe('a mapped region', () => {
  let client: Client
  beforeEach(async () => {
    client = await Client.attach(served.path)
    device.log.length = 0
  })
  afterEach(async () => {
    client.detach()
    await served.idle()
  })

  test('is told of by Client.regionInfo()', async () => {
    assert.deepEqual(await client.regionInfo(0), { flags: RW, size: REGISTERS_SIZE })
    assert.deepEqual(await client.regionInfo(1), { flags: RW | MMAP, size: SMALL_SIZE })
    assert.deepEqual(await client.regionInfo(2), {
      flags: RW | MMAP | CAPS,
      size: BIG_SIZE,
      areas: [
        { offset: 0, size: MSIX_OFFSET },
        { offset: 0x9000, size: 0x7000 },
      ],
      msixMappable: true,
    })
    assert.deepEqual(await client.regionInfo(9), {
      flags: RW | MMAP | CAPS,
      size: OWN_SIZE,
      areas: [{ offset: 0, size: 0x1000 }],
      type: OWN_TYPE,
    })
    assert.deepEqual(
      (await client.regionInfo(4)).areas?.map(({ offset }) => offset),
      [0x1000, 0x3000, 0x5000],
    )
  })

  test('is one memory for the driver, the mapping and messages, and the registers see nothing', async () => {
    const { areas } = await client.mapRegion(5)
    const [{ bytes, offset } = { bytes: new Uint8Array(), offset: -1 }] = areas
    assert.deepEqual([areas.length, offset, bytes.length], [1, 0, WHOLE_SIZE])
    bytes.set([1, 2, 3, 4], 0x1ffc)
    assert.deepEqual([...device.whole.bytes.subarray(0x1ffc)], [1, 2, 3, 4])
    assert.equal(await client.readRegister(5, 0x1ffc, 4), 0x04030201)
    device.whole.bytes[0] = 9
    assert.equal(bytes[0], 9)
    assert.equal(await client.readRegister(5, 0, 1), 9)
    for (const [width, value] of [
      [1, 0xfe],
      [2, 0xfedc],
      [4, 0xfedcba98],
    ] as const) {
      await client.writeRegister(5, 0x10, value, width)
      assert.equal(
        Buffer.from(bytes.buffer, bytes.byteOffset + 0x10, 8).readUIntLE(0, width),
        value,
      )
    }
    const text = Buffer.from('an access of any length, at any place')
    await client.write(5, 0xffd, text)
    assert.deepEqual(Buffer.from(bytes.subarray(0xffd, 0xffd + text.length)), text)
    assert.deepEqual(Buffer.from(await client.read(5, 0xffd, text.length)), text)
    await client.write(5, 0x20, Buffer.from('0123456789abcdef', 'hex'))
    assert.equal(Buffer.from(bytes.subarray(0x20, 0x28)).toString('hex'), '0123456789abcdef')
    assert.deepEqual(device.log, [])
  })

  test('that is sparse leaves the rest to the registers, and an access may cross', async () => {
    const { areas } = await client.mapRegion(4)
    const [first, second, third] = areas
    assert.deepEqual(
      areas.map(({ offset, bytes }) => [offset, bytes.length]),
      [
        [0x1000, 0x1000],
        [OTHER_AREA.offset, OTHER_AREA.size],
        [0x5000, 0x2000],
      ],
    )
    first!.bytes[0] = 11
    second!.bytes[0] = 22
    third!.bytes[0x1fff] = 33
    assert.equal(device.sparse.bytes[0x1000], 11)
    assert.equal(device.other.bytes[0], 22)
    assert.equal(device.sparse.bytes[0x6fff], 33)
    // memory that is no whole page is accessed by message, and is memory all the same
    await client.writeRegister(4, 0x4ffc, 44, 4)
    assert.equal(device.sparse.bytes[0x4ffc], 44)
    assert.deepEqual(device.log, [])

    const read = Buffer.from(await client.read(4, 0x0ffc, 8))
    assert.equal(read.readUInt32LE(0), 0xa000_0ffc)
    assert.equal(read[4], 11)
    await client.write(4, 0x6ffe, Buffer.from([1, 2, 3, 4]))
    assert.deepEqual([...third!.bytes.subarray(0x1ffe)], [1, 2])
    assert.deepEqual(device.log, [
      ['r', 4, 0x0ffc, 4],
      ['w', 4, 0x7000, 2, 0x0403],
    ])
  })

  test('read by message in one piece is registers and memory in their places', async () => {
    device.sparse.bytes.fill(0x55)
    device.other.bytes.fill(0x66)
    const all = Buffer.from(await client.read(4, 0, SPARSE_SIZE))
    assert.equal(all.readUInt32LE(0x0ffc), 0xa000_0ffc)
    assert.deepEqual(all.subarray(0x1000, 0x2000), Buffer.alloc(0x1000, 0x55))
    assert.equal(all.readUInt32LE(0x2000), 0xa000_2000)
    assert.deepEqual(all.subarray(0x3000, 0x4000), Buffer.alloc(0x1000, 0x66))
    assert.equal(all.readUInt32LE(0x47fc), 0xa000_47fc)
    assert.deepEqual(all.subarray(0x4800, 0x7000), Buffer.alloc(0x2800, 0x55))
    assert.equal(all.readUInt32LE(0x7000), 0xa000_7000)
    const pages = new Set(device.log.map(([, , offset]) => offset >>> 11))
    const registers = [0, 1, 4, 5, 8, 14, 15] // half pages
    assert.deepEqual([...pages], registers)
  })

  test('smaller than a page is mapped alone', async () => {
    const { areas } = await client.mapRegion(1)
    assert.deepEqual(
      areas.map(({ offset, bytes }) => [offset, bytes.length]),
      [[0, SMALL_SIZE]],
    )
    areas[0]!.bytes[0xff] = 7
    assert.equal(device.small.bytes[0xff], 7)
    assert.equal(device.small.bytes.length, SMALL_SIZE)
    await assert.rejects(client.read(1, SMALL_SIZE, 1), { code: 'EINVAL' })
  })

  test('has no page of the MSI-X table, whose registers stay', async () => {
    const { areas } = await client.mapRegion(2)
    assert.deepEqual(
      areas.map(({ offset, bytes }) => [offset, bytes.length]),
      [
        [0, MSIX_OFFSET],
        [0x9000, 0x7000],
      ],
    )
    device.big.bytes.fill(0xee)
    assert.equal(areas[1]!.bytes[0], 0xee)
    // PCI 3.0, 6.8.2: vector control, whose bit 0 masks; it is set after a reset
    assert.equal(await client.readRegister(2, MSIX_OFFSET + 12, 4), 1)
    await client.writeRegister(2, MSIX_OFFSET, 0xfee0_0000, 4)
    assert.equal(await client.readRegister(2, MSIX_OFFSET, 4), 0xfee0_0000)
    assert.equal(device.big.bytes[MSIX_OFFSET], 0xee)
    device.msix[1]?.trigger()
    assert.equal(await client.readRegister(2, MSIX_OFFSET + 0x800, 1), 2, 'pending')
    // the capability says where they are
    const config = Buffer.from(await client.read(7, 0, 256))
    const at = config.readUInt8(0x34)
    assert.deepEqual(
      [config.readUInt8(at), config.readUInt32LE(at + 4), config.readUInt32LE(at + 8)],
      [0x11, MSIX_OFFSET | 2, (MSIX_OFFSET + 0x800) | 2],
    )
  })

  test('that has no memory is EOPNOTSUPP, and one that is not there EINVAL', async () => {
    const before = openFds()
    await assert.rejects(client.mapRegion(0), { code: 'EOPNOTSUPP' })
    await assert.rejects(client.mapRegion(3), { code: 'EOPNOTSUPP' })
    await assert.rejects(client.mapRegion(10), { code: 'EINVAL' })
    assert.deepEqual(openFds(), before)
  })

  test('reads zeros after MappedRegion.unmap(), and the device is not touched', async () => {
    const before = resourcesOf()
    const mapped = await client.mapRegion(5)
    device.whole.bytes[5] = 5
    mapped.unmap()
    mapped.unmap()
    const [area] = mapped.areas
    assert.equal(area!.bytes[5], 0)
    area!.bytes[5] = 6
    assert.equal(device.whole.bytes[5], 5)
    const { fds, shared } = resourcesOf()
    assert.deepEqual({ fds, shared }, { fds: before.fds, shared: before.shared })
  })

  test('keeps what it holds when the device is reset', async () => {
    const { areas } = await client.mapRegion(5)
    areas[0]!.bytes[100] = 100
    await client.request(RESET, new Uint8Array(0))
    assert.equal(device.whole.bytes[100], 100)
    assert.equal(areas[0]!.bytes[100], 100)
  })

  test('comes in order with other replies', async () => {
    const [first, info, small, whole, last] = await Promise.all([
      client.info(),
      client.regionInfo(5),
      client.mapRegion(1),
      client.mapRegion(5),
      client.info(),
    ])
    assert.deepEqual([first, last], [first, first])
    assert.equal(info.size, WHOLE_SIZE)
    assert.equal(small.areas[0]?.bytes.length, SMALL_SIZE)
    assert.equal(whole.areas[0]?.bytes.length, WHOLE_SIZE)
  })
})

describe('clients of a mapped region', () => {
  test('leave no fd and no mapping when they go, whatever they mapped', async () => {
    const comeAndGo = async () => {
      const client = await Client.attach(served.path)
      for (const index of [1, 2, 4, 5, 9]) await client.mapRegion(index)
      const cut = client.mapRegion(5)
      client.detach()
      await assert.rejects(cut, { code: 'ECONNRESET' })
      await served.idle()
    }
    await comeAndGo()
    const before = resourcesOf()
    for (let i = 0; i < 10; i++) await comeAndGo()
    const { fds, shared } = resourcesOf()
    assert.deepEqual({ fds, shared }, { fds: before.fds, shared: before.shared })
  })

  test('do not see what the next one does, nor change it', async () => {
    const first = await RawClient.attach(served.path)
    const { fds } = await first.requestFds(GET_REGION_INFO, request(5, 32))
    const kept = fds[0]!
    const view = device.whole.bytes
    view.fill(0)
    writeSync(kept, Uint8Array.of(42), 0, 1, 0x1001)
    assert.equal(view[0x1001], 42)
    first.close()
    await served.idle()

    assert.equal(view[0x1001], 42, 'what it held is there still')
    const next = await Client.attach(served.path)
    const { areas } = await next.mapRegion(5)
    const { bytes } = areas[0]!
    assert.equal(bytes[0x1001], 42)
    bytes[0x1001] = 43
    assert.equal(view[0x1001], 43)
    const seen = new Uint8Array(1)
    readSync(kept, seen, 0, 1, 0x1001)
    assert.equal(seen[0], 42)
    writeSync(kept, Uint8Array.of(44), 0, 1, 0x1001)
    assert.deepEqual([view[0x1001], bytes[0x1001]], [43, 43])
    closeFd(kept)
    next.detach()
    await served.idle()
  })

  test('that asked for no memory get the same file as the one before', async () => {
    const client = await Client.attach(served.path)
    const before = openFds()
    client.detach()
    await served.idle()
    const other = await Client.attach(served.path)
    const memfds = (lines: string[]) => lines.filter((line) => line.includes('mdevkit-region'))
    assert.deepEqual(memfds(openFds()), memfds(before))
    other.detach()
    await served.idle()
  })
})

test('mdev.sharedMemory() after probe is EBUSY, and of no size EINVAL', async () => {
  assert.throws(() => served.mdev.handle.sharedMemory(4096), { code: 'EBUSY' })
  const greedy = {
    ...device.driver,
    probe: (mdev: Parameters<typeof device.driver.probe>[0]) => {
      mdev.sharedMemory(0)
      return { reset: () => {} }
    },
  }
  await assert.rejects(Served.start(greedy), { code: 'EINVAL' })
})

test('an mdev’s memory is freed with it, and when its creation fails', async () => {
  const memory = () => {
    const { fds, shared } = resourcesOf()
    return [...fds, ...shared].filter((name) => name.includes('mdevkit-region')).length
  }
  const before = memory()
  const held = new MappedDevice()
  const other = await Served.start(held.driver)
  const client = await Client.attach(other.path)
  const { areas } = await client.mapRegion(5)
  assert.ok(memory() > before)
  const { bytes } = held.whole
  bytes[0] = 1
  await other.host.parent.remove(UUID, { force: true })
  assert.equal(bytes[0], 0)
  assert.equal(areas[0]!.bytes[0], 1, 'the client’s own mapping stays')
  client.detach()
  other[Symbol.dispose]()
  assert.equal(memory(), before)

  const failing = {
    ...held.driver,
    probe(mdev: Parameters<typeof held.driver.probe>[0]) {
      mdev.sharedMemory(4096)
      throw new Error('probe fails')
    },
  }
  await assert.rejects(Served.start(failing), /probe fails/)
  assert.equal(memory(), before)
})

test('a device with mapped regions and doorbells passes every check of the conformance suite', async () => {
  const report = await runChecks({ path: served.path, destructive: true })
  assert.deepEqual(
    report.results.filter(({ result }) => result === 'fail'),
    [],
  )
  // those that are about what is mapped, and so have nothing to look at in most devices
  const groups = report.results.filter(({ id }) => /^(io-fds|regions)\./.test(id))
  assert.deepEqual(
    groups.filter(({ result }) => result === 'skip').map(({ id }) => id),
    ['regions.io-unmapped'],
  )
  await served.idle()
})
