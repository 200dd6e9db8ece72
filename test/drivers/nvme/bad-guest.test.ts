/** Guests that lie: each lie gets its status, and the controller goes on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { closeFd } from '../../../src/os/fd.ts'
import { createMemfd } from '../../../src/os/memfd.ts'
import { DMA_MAP, dmaMap } from '../../support/vfio-user-raw.ts'
import {
  CFS,
  CSTS,
  MEMORY,
  MIB,
  NvmeHost,
  PAGE,
  RDY,
  ACQ,
  AQA,
  ASQ,
  CC,
  CC_ENABLE,
  type Sqe,
  sgl,
  Stage,
} from './nvme-host.ts'

const [WRITE, READ, COMPARE, WRITE_ZEROES, DSM] = [1, 2, 5, 8, 9] as const
const [DELETE_SQ, CREATE_SQ, DELETE_CQ, CREATE_CQ] = [0, 1, 4, 5] as const
const [GET_LOG, IDENTIFY, ABORT, SET_FEATURES, GET_FEATURES] = [2, 6, 8, 9, 10] as const
const [ASYNC_EVENT, DOORBELL_BUFFERS, FORMAT] = [0x0c, 0x7c, 0x80] as const
/** Where the host has no memory. */
const NOWHERE = 2 ** 40

// 4.6.1, generic command status
const [INVALID_OPCODE, INVALID_FIELD, TRANSFER_ERROR, INVALID_NAMESPACE] = [0x01, 0x02, 0x04, 0x0b]
const [BAD_SEGMENT, BAD_COUNT, BAD_LENGTH, BAD_TYPE] = [0x0d, 0x0e, 0x0f, 0x11]
const [BAD_OFFSET, WRITE_PROTECTED, OUT_OF_RANGE] = [0x13, 0x20, 0x80]
// command specific status
const [BAD_CQ, BAD_QUEUE, BAD_SIZE, TOO_MANY_EVENTS] = [0x100, 0x101, 0x102, 0x105]
const [BAD_VECTOR, BAD_LOG, BAD_FORMAT, BAD_DELETION] = [0x108, 0x109, 0x10a, 0x10c]
const NOT_SAVEABLE = 0x10d

/** Each command by itself, with the status it gets. */
async function refused(
  host: NvmeHost,
  queue: number,
  cases: readonly (readonly [title: string, sqe: Sqe, status: number | undefined])[],
): Promise<void> {
  for (const [title, sqe, status] of cases) {
    const [cqe] = await host.run(host.queue(queue), sqe)
    assert.deepEqual([cqe!.status, cqe!.doNotRetry], [status, status !== 0], title)
  }
}

test('nvme refuses transfers that do not fit the disk, the limit, or the namespace', async () => {
  using stage = await Stage.start({ size: MIB })
  using host = await NvmeHost.ready(stage)
  const at = { nsid: 1, prp1: host.allocate() }
  await refused(host, 1, [
    ['first block beyond', { opcode: READ, ...at, cdw10: 2048 }, OUT_OF_RANGE],
    ['last block beyond', { opcode: READ, ...at, cdw10: 2047, cdw12: 1 }, OUT_OF_RANGE],
    ['up to the end', { opcode: READ, ...at, cdw10: 2047 }, 0],
    ['far beyond', { opcode: WRITE, ...at, cdw11: 0xffff_ffff }, OUT_OF_RANGE],
    [
      'sum goes around',
      { opcode: WRITE, ...at, cdw10: 0xffff_ffff, cdw11: 0xffff_ffff },
      OUT_OF_RANGE,
    ],
    ['zeroes beyond', { opcode: WRITE_ZEROES, ...at, cdw10: 1, cdw12: 2047 }, OUT_OF_RANGE],
    ['compares beyond', { opcode: COMPARE, ...at, cdw10: 2048 }, OUT_OF_RANGE],
    ['over the limit', { opcode: READ, ...at, cdw12: 1024 }, INVALID_FIELD],
    ['far over the limit', { opcode: WRITE, ...at, cdw12: 0xffff }, INVALID_FIELD],
    ['no namespace', { opcode: READ, ...at, nsid: 0 }, INVALID_NAMESPACE],
    ['another namespace', { opcode: READ, ...at, nsid: 2 }, INVALID_NAMESPACE],
    ['all namespaces', { opcode: WRITE, ...at, nsid: 0xffff_ffff }, INVALID_NAMESPACE],
    ['no such command', { opcode: 0x7f, ...at }, INVALID_OPCODE],
    ['fused, first', { opcode: READ, ...at, flags: 1 }, INVALID_FIELD],
    ['fused, second', { opcode: READ, ...at, flags: 2 }, INVALID_FIELD],
    ['reserved kind of pointer', { opcode: READ, ...at, flags: 0xc0 }, INVALID_FIELD],
  ])
  assert.deepEqual(stage.slice.calls, [`read ${MIB - 512}+512`])
})

for (const memory of ['shared', 'message'] as const) {
  test(`nvme, ${memory} memory: refuses PRPs that are not aligned, not there, or lead nowhere`, async () => {
    using stage = await Stage.start()
    using host = await NvmeHost.ready(stage, { memory })
    const page = host.allocate()
    const list = host.allocate()
    const read = { opcode: READ, nsid: 1, prp1: page }
    const fill = (value: number) => {
      for (let i = 0; i < 512; i++)
        host.view.setBigUint64(list - MEMORY + 8 * i, BigInt(value), true)
    }
    fill(list) // each entry is the list itself
    await refused(host, 1, [
      ['not at a dword', { ...read, prp1: page + 2 }, BAD_OFFSET],
      ['second amid a page', { ...read, prp2: page + 512, cdw12: 15 }, BAD_OFFSET],
      ['list not at a qword', { ...read, prp2: list + 4, cdw12: 23 }, BAD_OFFSET],
      ['first nowhere', { ...read, prp1: NOWHERE }, TRANSFER_ERROR],
      ['second nowhere', { ...read, prp2: NOWHERE, cdw12: 15 }, TRANSFER_ERROR],
      ['list nowhere', { ...read, prp2: NOWHERE, cdw12: 23 }, TRANSFER_ERROR],
      ['beyond all addresses', { ...read, prp1: 2 ** 64 - PAGE }, TRANSFER_ERROR],
      [
        'from the last page on',
        { ...read, prp1: MEMORY + 16 * MIB - 512, prp2: MEMORY + 16 * MIB, cdw12: 1 },
        TRANSFER_ERROR,
      ],
    ])
    // a list that leads to itself is read into again and again, and ends with the transfer
    const [looping] = await host.run(host.queue(1), { ...read, prp2: list + PAGE - 8, cdw12: 1023 })
    assert.equal(looping!.status, 0)
    fill(page + 8)
    await refused(host, 1, [
      ['entries amid pages', { ...read, prp2: list, cdw12: 1023 }, BAD_OFFSET],
    ])
    fill(NOWHERE)
    await refused(host, 1, [
      ['entries nowhere', { ...read, prp2: list, cdw12: 1023 }, TRANSFER_ERROR],
      ['goes on nowhere', { ...read, prp2: list + PAGE - 8, cdw12: 1023 }, TRANSFER_ERROR],
    ])
    assert.equal((await host.io(read)).status, 0)
  })

  test(`nvme, ${memory} memory: refuses SGLs of other types, of wrong lengths, and in circles`, async () => {
    using stage = await Stage.start()
    using host = await NvmeHost.ready(stage, { memory })
    const page = host.allocate()
    const list = host.allocate()
    const read = { opcode: READ, nsid: 1, flags: 0x40 }
    const segment = (...descriptors: readonly Uint8Array[]) => {
      const at = host.allocate()
      descriptors.forEach((descriptor, i) => host.bytes(at + 16 * i, 16).set(descriptor))
      return at
    }
    host.bytes(list, 16).set(sgl(2, list, 16)) // itself
    const block = sgl(0, page, 512)
    await refused(host, 1, [
      ['a bit bucket', { ...read, sgl: sgl(1, page, 512) }, BAD_TYPE],
      ['a keyed block', { ...read, sgl: sgl(4, page, 512) }, BAD_TYPE],
      ['an offset instead of an address', { ...read, sgl: sgl(0, page, 512, 1) }, BAD_TYPE],
      ['too short', { ...read, sgl: sgl(0, page, 511) }, BAD_LENGTH],
      ['too long', { ...read, sgl: sgl(0, page, 513) }, BAD_LENGTH],
      ['4 GiB', { ...read, sgl: sgl(0, page, 0xffff_ffff) }, BAD_LENGTH],
      ['an empty segment', { ...read, sgl: sgl(3, list, 0) }, BAD_SEGMENT],
      ['a segment of no whole descriptors', { ...read, sgl: sgl(3, list, 24) }, BAD_SEGMENT],
      ['a segment of 4 GiB', { ...read, sgl: sgl(3, list, 0xffff_fff0) }, BAD_COUNT],
      ['a segment nowhere', { ...read, sgl: sgl(3, NOWHERE, 16) }, TRANSFER_ERROR],
      ['a block nowhere', { ...read, sgl: sgl(0, NOWHERE, 512) }, TRANSFER_ERROR],
      ['a circle', { ...read, sgl: sgl(2, list, 16) }, BAD_COUNT],
      ['last, but leads on', { ...read, sgl: sgl(3, list, 16) }, BAD_SEGMENT],
      ['not last, but ends', { ...read, sgl: sgl(2, segment(block), 16) }, BAD_SEGMENT],
      [
        'leads on amid itself',
        { ...read, sgl: sgl(2, segment(sgl(3, list, 16), block), 32) },
        BAD_COUNT,
      ],
      ['blocks of more', { ...read, sgl: sgl(3, segment(block, block), 32) }, BAD_LENGTH],
      ['blocks of less', { ...read, sgl: sgl(3, segment(sgl(0, page, 8)), 16) }, BAD_LENGTH],
      ['another type inside', { ...read, sgl: sgl(3, segment(sgl(5, page, 512)), 16) }, BAD_TYPE],
    ])
    assert.equal((await host.io({ ...read, sgl: block })).status, 0)
  })
}

test('nvme reads nothing into memory that is read-only, writes from it, and takes lists from it', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const place = 2 ** 41
  await mapReadOnly(host, place, 4 * PAGE)
  const page = host.allocate()
  const at = { nsid: 1, prp1: place }
  await refused(host, 1, [
    ['write', { opcode: WRITE, ...at }, 0],
    ['compare', { opcode: COMPARE, ...at }, 0],
    ['read', { opcode: READ, ...at }, TRANSFER_ERROR],
    [
      'read, second page',
      { opcode: READ, ...at, prp1: page, prp2: place, cdw12: 15 },
      TRANSFER_ERROR,
    ],
    [
      'read by SGL',
      { opcode: READ, nsid: 1, flags: 0x40, sgl: sgl(0, place, 512) },
      TRANSFER_ERROR,
    ],
    // of zeros: three pages at 0, where nothing is
    ['a list', { opcode: READ, nsid: 1, prp1: page, prp2: place, cdw12: 23 }, TRANSFER_ERROR],
    ['a segment', { opcode: READ, nsid: 1, flags: 0x40, sgl: sgl(3, place, 16) }, BAD_LENGTH],
  ])
  await refused(host, 0, [
    ['identify', { opcode: IDENTIFY, prp1: place, cdw10: 1 }, TRANSFER_ERROR],
    ['log', { opcode: GET_LOG, prp1: place, cdw10: 0x7f_0002 }, TRANSFER_ERROR],
    ['host id', { opcode: SET_FEATURES, prp1: place, cdw10: 0x81 }, 0],
    ['get host id', { opcode: GET_FEATURES, prp1: place, cdw10: 0x81 }, TRANSFER_ERROR],
    ['doorbells', { opcode: DOORBELL_BUFFERS, prp1: place, prp2: page }, TRANSFER_ERROR],
    ['event indexes', { opcode: DOORBELL_BUFFERS, prp1: page, prp2: place }, TRANSFER_ERROR],
  ])
  // doorbells are where they were
  await host.createPair(2, 8)
  for (const id of [1, 2]) {
    const [cqe] = await host.run(host.queue(id), { opcode: READ, nsid: 1, prp1: page })
    assert.equal(cqe!.status, 0)
  }
})

test('nvme is fatally stuck where completions cannot be written, until it is reset', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage, { pairs: 0 })
  const place = 2 ** 41
  await mapReadOnly(host, place, PAGE)
  await host.command({ opcode: CREATE_CQ, prp1: place, cdw10: 0xf_0001, cdw11: 0x1_0003 })
  const sq = host.allocate()
  await host.command({ opcode: CREATE_SQ, prp1: sq, cdw10: 0xf_0001, cdw11: 0x1_0001 })
  host.bytes(sq, 64 * 8).fill(0) // flushes of no namespace
  host.ringAt(2, 8)
  await host.status(CFS, CFS)
  const told = stage.served.lines.filter((line) => line.includes('completion queue 1'))
  assert.equal(told.length, 1)
  await host.enable()
  await host.createPair(1, 8)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme with one queue full of commands that do not end serves the others, and is reset', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage, { pairs: 2, entries: 8 })
  const read = { opcode: READ, nsid: 1, prp1: host.allocate() }
  stage.slice.hold()
  void host.begin(host.queue(1), ...Array.from({ length: 7 }, () => read))
  await host.until(() => stage.slice.underWay === 7, 'seven reads at the disk')
  const free = stage.slice.takeHeld()
  for (let i = 0; i < 30; i++) {
    const [cqe] = await host.run(host.queue(2), read)
    assert.equal(cqe!.status, 0)
  }
  await host.command({ opcode: IDENTIFY, prp1: host.allocate(), cdw10: 1 })
  // neither aborted nor deleted, as long as the disk does not let go of them
  assert.equal((await host.command({ opcode: ABORT, cdw10: 0x1_0001 })).result, 1)
  let deleted = false
  void host.command({ opcode: DELETE_SQ, cdw10: 1 }).then(() => (deleted = true))
  await host.command({ opcode: IDENTIFY, prp1: host.allocate(), cdw10: 1 })
  await refused(host, 0, [['deleted twice', { opcode: DELETE_SQ, cdw10: 1 }, BAD_QUEUE]])
  assert.equal(deleted, false)
  await host.set(CC, 0)
  assert.equal(await host.get(CSTS), RDY)
  free()
  await host.status(RDY, 0)
  assert.equal(deleted, false)
  await host.enable()
  await host.createPair(1, 8)
  assert.equal((await host.io(read)).status, 0)
})

/** Memory of zeros that the controller may only read. */
async function mapReadOnly(host: NvmeHost, iova: number, size: number): Promise<void> {
  const fd = createMemfd('read-only', size)
  try {
    await host.client.request(DMA_MAP, dmaMap({ iova, size, flags: 1 }), [fd])
  } finally {
    closeFd(fd)
  }
}

test('nvme refuses queues of no size, twice, from amid a page, without a partner or a vector', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const prp1 = host.allocate()
  const size = (entries: number, id: number) => (entries - 1) * 0x1_0000 + id
  const cq = { opcode: CREATE_CQ, prp1, cdw10: size(16, 2), cdw11: 3 }
  const sq = { opcode: CREATE_SQ, prp1, cdw10: size(16, 2), cdw11: 0x1_0001 }
  await refused(host, 0, [
    ['cq 0', { ...cq, cdw10: size(16, 0) }, BAD_QUEUE],
    ['cq beyond', { ...cq, cdw10: size(16, 5) }, BAD_QUEUE],
    ['cq twice', { ...cq, cdw10: size(16, 1) }, BAD_QUEUE],
    ['cq of one entry', { ...cq, cdw10: size(1, 2) }, BAD_SIZE],
    ['cq of 1025 entries', { ...cq, cdw10: size(1025, 2) }, BAD_SIZE],
    ['cq of 65536 entries', { ...cq, cdw10: size(65_536, 2) }, BAD_SIZE],
    ['cq in pieces', { ...cq, cdw11: 2 }, INVALID_FIELD],
    ['cq amid a page', { ...cq, prp1: prp1 + 64 }, BAD_OFFSET],
    ['cq without such a vector', { ...cq, cdw11: 0x5_0003 }, BAD_VECTOR],
    ['cq by an SGL', { ...cq, flags: 0x40 }, INVALID_FIELD],
    ['sq 0', { ...sq, cdw10: size(16, 0) }, BAD_QUEUE],
    ['sq beyond', { ...sq, cdw10: size(16, 5) }, BAD_QUEUE],
    ['sq twice', { ...sq, cdw10: size(16, 1) }, BAD_QUEUE],
    ['sq of one entry', { ...sq, cdw10: size(1, 2) }, BAD_SIZE],
    ['sq of 65536 entries', { ...sq, cdw10: size(65_536, 2) }, BAD_SIZE],
    ['sq in pieces', { ...sq, cdw11: 0x1_0000 }, INVALID_FIELD],
    ['sq amid a page', { ...sq, prp1: prp1 + 2048 }, BAD_OFFSET],
    ['sq to no cq', { ...sq, cdw11: 0x3_0001 }, BAD_CQ],
    ['sq to the admin cq', { ...sq, cdw11: 1 }, BAD_QUEUE],
    ['sq to a cq beyond', { ...sq, cdw11: 0x99_0001 }, BAD_QUEUE],
    ['delete sq 0', { opcode: DELETE_SQ }, BAD_QUEUE],
    ['delete no sq', { opcode: DELETE_SQ, cdw10: 2 }, BAD_QUEUE],
    ['delete cq 0', { opcode: DELETE_CQ }, BAD_QUEUE],
    ['delete no cq', { opcode: DELETE_CQ, cdw10: 2 }, BAD_QUEUE],
    ['delete cq before sq', { opcode: DELETE_CQ, cdw10: 1 }, BAD_DELETION],
    ['delete sq', { opcode: DELETE_SQ, cdw10: 1 }, 0],
    ['delete sq again', { opcode: DELETE_SQ, cdw10: 1 }, BAD_QUEUE],
    ['delete cq', { opcode: DELETE_CQ, cdw10: 1 }, 0],
  ])
})

test('nvme refuses admin commands that it does not have, or that ask for what is not there', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const prp1 = host.allocate()
  await refused(host, 0, [
    ['no such command', { opcode: 0x0d }, INVALID_OPCODE],
    ['vendor command', { opcode: 0xc0 }, INVALID_OPCODE],
    ['fused', { opcode: IDENTIFY, prp1, flags: 1, cdw10: 1 }, INVALID_FIELD],
    ['by an SGL', { opcode: IDENTIFY, prp1, flags: 0x40, cdw10: 1 }, INVALID_FIELD],
    ['identify what', { opcode: IDENTIFY, prp1, cdw10: 0x10 }, INVALID_FIELD],
    ['identify namespace 0', { opcode: IDENTIFY, prp1 }, INVALID_NAMESPACE],
    ['identify namespace 2', { opcode: IDENTIFY, prp1, nsid: 2 }, INVALID_NAMESPACE],
    ['list after all', { opcode: IDENTIFY, prp1, nsid: 0xffff_ffff, cdw10: 2 }, INVALID_NAMESPACE],
    ['identify to nowhere', { opcode: IDENTIFY, prp1: NOWHERE, cdw10: 1 }, TRANSFER_ERROR],
    ['identify amid a dword', { opcode: IDENTIFY, prp1: prp1 + 1, cdw10: 1 }, BAD_OFFSET],
    [
      'identify across, to nowhere',
      { opcode: IDENTIFY, prp1: prp1 + 4, prp2: NOWHERE, cdw10: 1 },
      TRANSFER_ERROR,
    ],
    ['no such log', { opcode: GET_LOG, prp1, cdw10: 0x70 }, BAD_LOG],
    ['log of namespace 2', { opcode: GET_LOG, prp1, nsid: 2, cdw10: 2 }, INVALID_NAMESPACE],
    ['log from amid a dword', { opcode: GET_LOG, prp1, cdw10: 2, cdw12: 2 }, INVALID_FIELD],
    ['log from beyond', { opcode: GET_LOG, prp1, cdw10: 2, cdw12: 516 }, INVALID_FIELD],
    ['log from far beyond', { opcode: GET_LOG, prp1, cdw10: 2, cdw13: 0xffff_ffff }, INVALID_FIELD],
    ['16 GiB of log', { opcode: GET_LOG, prp1, cdw10: 0xffff_0002, cdw11: 0xffff }, INVALID_FIELD],
    ['get no feature', { opcode: GET_FEATURES, cdw10: 0x7f }, INVALID_FIELD],
    ['get feature, how', { opcode: GET_FEATURES, cdw10: 0x701 }, INVALID_FIELD],
    ['set no feature', { opcode: SET_FEATURES, cdw10: 0x7f }, INVALID_FIELD],
    ['save a feature', { opcode: SET_FEATURES, cdw10: 0x8000_0006 }, NOT_SAVEABLE],
    ['power state 1', { opcode: SET_FEATURES, cdw10: 2, cdw11: 1 }, INVALID_FIELD],
    ['65536 queues', { opcode: SET_FEATURES, cdw10: 7, cdw11: 0xffff_ffff }, INVALID_FIELD],
    ['queues are there', { opcode: SET_FEATURES, cdw10: 7, cdw11: 0x3_0003 }, 0x0c],
    ['vector 5', { opcode: SET_FEATURES, cdw10: 9, cdw11: 5 }, INVALID_FIELD],
    ['of vector 5', { opcode: GET_FEATURES, cdw10: 9, cdw11: 5 }, INVALID_FIELD],
    ['host id from nowhere', { opcode: SET_FEATURES, cdw10: 0x81, prp1: NOWHERE }, TRANSFER_ERROR],
    [
      'doorbells amid a page',
      { opcode: DOORBELL_BUFFERS, prp1: prp1 + 8, prp2: prp1 },
      INVALID_FIELD,
    ],
    ['doorbells nowhere', { opcode: DOORBELL_BUFFERS, prp1: NOWHERE, prp2: prp1 }, TRANSFER_ERROR],
    ['format, which blocks', { opcode: FORMAT, nsid: 1, cdw10: 1 }, BAD_FORMAT],
    ['format with protection', { opcode: FORMAT, nsid: 1, cdw10: 1 << 5 }, BAD_FORMAT],
    ['format by keys', { opcode: FORMAT, nsid: 1, cdw10: 2 << 9 }, INVALID_FIELD],
    ['format namespace 9', { opcode: FORMAT, nsid: 9 }, INVALID_NAMESPACE],
  ])
  assert.deepEqual(stage.slice.calls, [])
})

test('nvme refuses to change a disk that is read-only, and reads it', async () => {
  using stage = await Stage.start({ readOnly: true })
  using host = await NvmeHost.ready(stage)
  const at = { nsid: 1, prp1: host.allocate() }
  await refused(host, 1, [
    ['write', { opcode: WRITE, ...at }, WRITE_PROTECTED],
    ['write zeroes', { opcode: WRITE_ZEROES, ...at }, WRITE_PROTECTED],
    ['discard', { opcode: DSM, ...at, cdw11: 4 }, WRITE_PROTECTED],
    ['flush', { opcode: 0, nsid: 1 }, 0],
    ['read', { opcode: READ, ...at }, 0],
  ])
  await refused(host, 0, [['format', { opcode: FORMAT, nsid: 1 }, WRITE_PROTECTED]])
  assert.deepEqual(stage.slice.calls, ['read 0+512'])
})

test('nvme refuses ranges that are not there as a whole, and changes nothing', async () => {
  using stage = await Stage.start({ size: MIB })
  using host = await NvmeHost.ready(stage)
  const list = host.allocate()
  const discard = { opcode: DSM, nsid: 1, prp1: list, cdw10: 1, cdw11: 4 }
  const range = (i: number, start: bigint, count: number) => {
    host.view.setUint32(list - MEMORY + 16 * i + 4, count, true)
    host.view.setBigUint64(list - MEMORY + 16 * i + 8, start, true)
  }
  range(0, 0n, 1)
  for (const [start, count] of [
    [2048n, 1],
    [2047n, 2],
    [0n, 0xffff_ffff],
    [2n ** 64n - 1n, 1],
    [2n ** 64n - 1n, 0xffff_ffff],
  ] as const) {
    range(1, start, count)
    await refused(host, 1, [[`${start}+${count}`, discard, OUT_OF_RANGE]])
  }
  await refused(host, 1, [['list nowhere', { ...discard, prp1: NOWHERE }, TRANSFER_ERROR]])
  assert.deepEqual(stage.slice.calls, [])
})

test('nvme tells of doorbells that are not there, or say what cannot be', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const queue = host.queue(1)
  const readLog = { opcode: GET_LOG, prp1: host.allocate(), cdw10: 1 }
  for (const [number, value, information] of [
    [4, 1, 0], // queue 2
    [5, 1, 0],
    [999, 1, 0],
    [2, 64, 1], // beyond the queue
    [3, 64, 1],
    [3, 63, 1], // more than there was to read
    [2, 0xffff_ffff, 1],
  ] as const) {
    const [event] = host.begin(host.admin, { opcode: ASYNC_EVENT })
    host.ringAt(number, value)
    // of the type, what, and the page that has more
    assert.equal(
      (await event!).result,
      0x01_0000 + information * 0x100,
      `doorbell ${number}: ${value}`,
    )
    await host.command(readLog) // or nothing more is told
  }
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
  assert.equal(queue.head, 1)
})

test('nvme takes no more commands that wait for events than it says, and ends one when it is aborted', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const waiting = host.begin(
    host.admin,
    ...Array.from({ length: 4 }, () => ({ opcode: ASYNC_EVENT })),
  )
  await refused(host, 0, [['a fifth', { opcode: ASYNC_EVENT }, TOO_MANY_EVENTS]])
  const ids = [...host.admin.waiting.keys()]
  const aborted = await host.command({ opcode: ABORT, cdw10: ids[1]! * 0x1_0000 })
  assert.equal(aborted.result, 0)
  assert.equal((await waiting[1]!).status, 0x07) // Command Abort Requested
  // another one, which is none of those that wait
  assert.equal((await host.command({ opcode: ABORT, cdw10: 0x1234_0001 })).result, 1)
})

test('nvme is fatally stuck where its admin queues are not memory, until it is reset', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  for (const [asq, acq] of [
    [NOWHERE, MEMORY],
    [MEMORY, NOWHERE],
    [MEMORY + 16 * MIB, MEMORY],
  ] as const) {
    await host.disable()
    await host.set(AQA, 0x1f_001f)
    await host.set64(ASQ, asq)
    await host.set64(ACQ, acq)
    await host.set(CC, CC_ENABLE)
    assert.equal(await host.get(CSTS), RDY)
    host.ringAt(0, 1)
    await host.status(CFS, CFS)
  }
  await host.enable()
  await host.command({ opcode: IDENTIFY, prp1: host.allocate(), cdw10: 1 })
  assert.equal(await host.get(CSTS), RDY)
})

test('nvme is fatally stuck where the guest has taken bus mastering away, until it is reset', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await host.masterBus(false)
  host.put(host.queue(1), { opcode: READ, nsid: 1 })
  host.ring(host.queue(1))
  await host.status(CFS, CFS)
  await host.masterBus(true)
  await host.enable()
  await host.createPair(1, 8)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme is not enabled with pages, commands, arbitration or admin queues that it does not have', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  const admin = async (size: number, asq: number) => {
    await host.disable()
    await host.set(AQA, size)
    await host.set64(ASQ, asq)
    await host.set64(ACQ, MEMORY)
  }
  for (const [cc, size, asq] of [
    [CC_ENABLE | (5 << 7), 0x1f_001f, MEMORY], // pages of 128 KiB
    [CC_ENABLE | (1 << 4), 0x1f_001f, MEMORY], // another command set
    [CC_ENABLE | (1 << 11), 0x1f_001f, MEMORY], // weighted round robin
    [CC_ENABLE, 0x1f, MEMORY], // a completion queue of one entry
    [CC_ENABLE, 0x1f_0000, MEMORY], // a submission queue of one entry
    [CC_ENABLE | (4 << 7), 0x1f_001f, MEMORY + PAGE], // amid a page of 64 KiB
  ] as const) {
    await admin(size, asq)
    await host.set(CC, cc)
    assert.equal(await host.get(CSTS), CFS, `CC ${cc.toString(16)}`)
  }
  await host.enable()
  assert.equal(await host.get(CSTS), RDY)
})

test('nvme makes no I/O queues before it was told how large their entries are', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  await host.enable()
  for (const cc of [1, 0x40_0001, 0x06_0001, 0x57_0001]) {
    await host.set(CC, cc)
    await refused(host, 0, [
      [
        cc.toString(16),
        { opcode: CREATE_CQ, prp1: MEMORY, cdw10: 0xf_0001, cdw11: 1 },
        INVALID_FIELD,
      ],
    ])
  }
  await host.set(CC, CC_ENABLE)
  await host.createPair(1, 16)
})
