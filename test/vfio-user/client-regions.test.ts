/** What our client makes of regions and doorbells that servers offer wrongly, and of fds that nobody asked for. */
import assert from 'node:assert/strict'
import { openSync, readFileSync, readSync } from 'node:fs'
import { describe, test } from 'node:test'
import { createMemfd } from '../../src/os/memfd.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Fds, makeBlockingEventfd, makePipe, openFds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import { message, RawClient, type RawReply, u16, u32, u64 } from '../support/vfio-user-raw.ts'

const PAGE = 4096
const ERROR = 0x20

/** A server's end, which answers as it is told. */
class Peer implements Disposable {
  readonly client: Client
  readonly #end: RawClient

  constructor() {
    const [ours, theirs] = socketPair()
    this.client = Client.overSocket(ours)
    this.#end = new RawClient(theirs)
  }

  /** Waits for a request. */
  async next(): Promise<RawReply> {
    return this.#end.reply()
  }

  /** Answers the next request. @param fds stay the caller's */
  async answer(payload: Buffer, fds: readonly number[] = [], flags = 0, error = 0): Promise<void> {
    const { command, id } = await this.next()
    await this.#end.send(message(command, payload, { id, flags: 1 | flags, error }), fds)
  }

  async send(bytes: Buffer, fds: readonly number[]): Promise<void> {
    await this.#end.send(bytes, fds)
  }

  [Symbol.dispose](): void {
    this.client.detach()
    this.#end.close()
  }
}

/** Capabilities of a region-info answer, put into a chain. */
function answerOf(
  { flags = 7, size = 0x4000, offset = 0 },
  capabilities: readonly (readonly [id: number, body: Buffer])[] = [],
): Buffer {
  const total = capabilities.reduce((sum, [, body]) => sum + 8 + body.length, 32)
  let at = 32
  const chain = capabilities.map(([id, body], i) => {
    at += 8 + body.length
    return Buffer.concat([u16(id, 1), u32(i + 1 < capabilities.length ? at : 0), body])
  })
  const hasAny = capabilities.length > 0
  const head = Buffer.concat([
    u32(total, flags | (hasAny ? 8 : 0), 2, hasAny ? 32 : 0),
    u64(size, offset),
  ])
  return Buffer.concat([head, ...chain])
}

function sparse(...areas: readonly (readonly [offset: number, size: number])[]) {
  return [1, Buffer.concat([u32(areas.length, 0), ...areas.map((area) => u64(...area))])] as const
}

function severalFiles(
  ...areas: readonly (readonly [offset: number, at: number, size: number, fd: number])[]
) {
  const entries = areas.map(([offset, at, size, fd]) =>
    Buffer.concat([u64(offset, at, size), u32(fd, 0)]),
  )
  return [0x8001, Buffer.concat([u32(areas.length, 0), ...entries])] as const
}

/** Answers both times that the client asks: 32 bytes and what is needed first, where that is more. */
async function offer(peer: Peer, answer: Buffer, fds: readonly number[]): Promise<void> {
  if (answer.length > 32 && answer.readUInt32LE() > 32) {
    const short = Buffer.from(answer.subarray(0, 32))
    short.writeUInt32LE(answer.readUInt32LE(4) & ~8, 4)
    short.writeUInt32LE(0, 12)
    await peer.answer(short)
  }
  await peer.answer(answer, fds)
}

interface Held {
  readonly fds: readonly string[]
  readonly shared: readonly string[]
}

function held(): Held {
  const { fds, shared } = resourcesOf()
  return { fds, shared }
}

describe('Client.mapRegion()', () => {
  test('maps areas from the region’s offset in the file on, and those of several files from their own', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const first = fds.own(createMemfd('first', 0x8000))
    const second = fds.own(createMemfd('second', 0x2000))
    const before = held()
    const [mapped] = await Promise.all([
      peer.client.mapRegion(2),
      offer(peer, answerOf({ offset: 0x3000 }, [sparse([0x2000, 0x1000], [0, 0x1000])]), [first]),
    ])
    assert.deepEqual(
      mapped.areas.map(({ offset, bytes }) => [offset, bytes.length]),
      [
        [0x2000, 0x1000],
        [0, 0x1000],
      ],
    )
    const several = severalFiles([0, 0x1000, 0x1000, 1], [0x1000, 0x5000, 0x2000, 0])
    const [other] = await Promise.all([
      peer.client.mapRegion(2),
      offer(peer, answerOf({ offset: 0x7000 }, [several]), [first, second]),
    ])
    mapped.areas[0]!.bytes[3] = 5 // at 0x3000 + 0x2000 of the first file
    assert.equal(other.areas[1]!.bytes[3], 5)
    mapped.unmap()
    other.unmap()
    assert.deepEqual(held(), before)
  })

  test('takes nothing of a region that is read only back to the device', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const fd = fds.own(createMemfd('read-only', PAGE))
    const ask = async (flags: number) => {
      const [mapped] = await Promise.all([
        peer.client.mapRegion(2),
        offer(peer, answerOf({ flags, size: PAGE }), [fd]),
      ])
      return mapped.areas[0]!.bytes
    }
    const readable = await ask(1 | 4)
    const writable = await ask(3 | 4)
    writable[0] = 1
    assert.equal(readable[0], 1)
    readable[1] = 2
    assert.equal(writable[1], 0)
  })

  test('maps a region smaller than a page, of a file as small', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const fd = fds.own(createMemfd('small', 0x100))
    const [mapped] = await Promise.all([
      peer.client.mapRegion(2),
      offer(peer, answerOf({ size: 0x100 }), [fd]),
    ])
    assert.equal(mapped.areas[0]!.bytes.length, 0x100)
  })

  const FULL = [[0, 0x4000]] as const
  const cut = (answer: Buffer, by: number) => answer.subarray(0, answer.length - by)
  const patched = (answer: Buffer, at: number, value: number) => {
    answer.writeUInt32LE(value, at)
    return answer
  }
  /** What is offered, how large the files that come with it are, and how the client calls it. */
  for (const [title, answer, files, code] of [
    ['no mmap flag', answerOf({ flags: 3 }), [0x4000], 'EOPNOTSUPP'],
    ['no file', answerOf({}), [], 'EOPNOTSUPP'],
    ['a file that is shorter than the region', answerOf({}), [0x3000], 'EPROTO'],
    ['a file that ends before its offset', answerOf({ offset: 0x5000 }), [0x4000], 'EPROTO'],
    ['an offset of no whole pages', answerOf({ offset: 0x800 }), [0x8000], 'EPROTO'],
    ['an offset near 2^53', answerOf({ offset: 2 ** 53 - PAGE }), [0x4000], 'EPROTO'],
    ['an offset beyond 2^53', patched(answerOf({}), 28, 1 << 30), [0x4000], 'EOVERFLOW'],
    ['an area beyond the file', answerOf({}, [sparse([0x3000, 0x1000])]), [0x3000], 'EPROTO'],
    ['an area beyond the region', answerOf({}, [sparse([0x4000, 0x1000])]), [0x8000], 'EPROTO'],
    ['an area over its end', answerOf({}, [sparse([0x3000, 0x2000])]), [0x8000], 'EPROTO'],
    ['an empty area', answerOf({}, [sparse([0x1000, 0])]), [0x4000], 'EPROTO'],
    ['no area at all', answerOf({}, [sparse()]), [0x4000], 'EPROTO'],
    [
      'an area that starts amid a page',
      answerOf({}, [sparse([0x800, 0x1000])]),
      [0x4000],
      'EPROTO',
    ],
    ['an area that ends amid a page', answerOf({}, [sparse([0, 0x800])]), [0x4000], 'EPROTO'],
    [
      'areas that overlap',
      answerOf({}, [sparse([0x1000, 0x2000], [0, 0x2000])]),
      [0x4000],
      'EPROTO',
    ],
    [
      'an area of a file that did not come',
      answerOf({}, [severalFiles([0, 0, 0x1000, 0], [0x1000, 0, 0x1000, 2])]),
      [0x4000, 0x4000],
      'EPROTO',
    ],
    [
      'fewer areas than it says',
      cut(answerOf({}, [sparse(...FULL, ...FULL)]), 16),
      [0x4000],
      'EPROTO',
    ],
    [
      '2^32 - 1 areas',
      patched(answerOf({}, [sparse(...FULL)]), 40, 0xffff_ffff),
      [0x4000],
      'EPROTO',
    ],
    [
      'a capability beyond the answer',
      patched(answerOf({}, [sparse(...FULL)]), 12, 4096),
      [0x4000],
      'EPROTO',
    ],
    [
      'a capability in the fixed part',
      patched(answerOf({}, [sparse(...FULL)]), 12, 16),
      [0x4000],
      'EPROTO',
    ],
    [
      'a chain that comes back',
      patched(answerOf({}, [sparse(...FULL)]), 36, 32),
      [0x4000],
      'EPROTO',
    ],
  ] as const) {
    test(`of ${title} is ${code}, and leaves nothing`, async () => {
      using fds = new Fds()
      using peer = new Peer()
      const given = files.map((size) => fds.own(createMemfd('given', size)))
      const before = held()
      const [outcome] = await Promise.allSettled([
        peer.client.mapRegion(2),
        offer(peer, answer, given),
      ])
      assert.equal(outcome.status, 'rejected')
      assert.equal((outcome.reason as { code?: string }).code, code)
      assert.deepEqual(held(), before)
    })
  }

  test('of something that cannot be mapped is refused, and leaves nothing', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const [read, write] = makePipe()
    fds.own(write)
    for (const fd of [fds.own(read), fds.own(openSync('/', 'r')), fds.own(makeBlockingEventfd())]) {
      const before = held()
      const [outcome] = await Promise.allSettled([
        peer.client.mapRegion(2),
        offer(peer, answerOf({ size: 16 }), [fd]),
      ])
      assert.equal(outcome.status, 'rejected')
      assert.deepEqual(held(), before)
    }
  })

  test('asks twice at most, whatever the server needs', async () => {
    for (const needs of [[64, 128], [0xffff_ffff], [64 * 1024 + 1]]) {
      using peer = new Peer()
      const answers = async () => {
        for (const argsz of needs) {
          await peer.answer(Buffer.concat([u32(argsz, 7, 2, 0), u64(PAGE, 0)]))
        }
      }
      const [outcome] = await Promise.allSettled([peer.client.mapRegion(2), answers()])
      assert.equal(outcome.status, 'rejected')
      assert.equal((outcome.reason as { code?: string }).code, 'EPROTO')
    }
  })

  test('takes an answer of less than 32 bytes for EPROTO', async () => {
    using peer = new Peer()
    const [outcome] = await Promise.allSettled([
      peer.client.regionInfo(2),
      peer.answer(u32(32, 7, 2, 0)),
    ])
    assert.equal((outcome as PromiseRejectedResult).reason.code, 'EPROTO')
  })

  test('closes files that are not needed', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const given = Array.from({ length: 20 }, () => fds.own(createMemfd('given', 0x4000)))
    const before = openFds()
    const [mapped] = await Promise.all([peer.client.mapRegion(2), offer(peer, answerOf({}), given)])
    assert.equal(mapped.areas.length, 1)
    assert.deepEqual(openFds(), before)
  })
})

describe('fds that nobody asked for are closed', () => {
  for (const [title, payload, flags, error] of [
    ['with an answer', u32(16, 3, 9, 5), 0, 0],
    ['with a refusal', Buffer.alloc(0), ERROR, 22],
  ] as const) {
    test(title, async () => {
      using fds = new Fds()
      using peer = new Peer()
      const fd = fds.own(createMemfd('unasked', PAGE))
      const before = openFds()
      await Promise.allSettled([peer.client.info(), peer.answer(payload, [fd, fd], flags, error)])
      await Promise.allSettled([
        peer.client.mapRegion(0),
        peer.answer(Buffer.alloc(0), [fd, fd], ERROR, 22),
      ])
      assert.deepEqual(openFds(), before)
    })
  }

  test('with a request of the server', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const fd = fds.own(createMemfd('unasked', PAGE))
    const before = openFds()
    await peer.send(message(11, u64(0, 4), { id: 7 }), [fd])
    const reply = await peer.next()
    assert.equal(reply.id, 7)
    assert.deepEqual(openFds(), before)
  })
})

/** An entry of section 9; 48 bytes as libvfio-user has it, 40 by the text. */
function entry(
  offset: number,
  size: number,
  { fd = 0, type = 2, flags = 0, shadow = 1, at = 0, match = 0n },
): Buffer {
  return Buffer.concat([u64(offset, size), u32(fd, type, flags, shadow), u64(at, match)])
}

function shortEntry(offset: number, size: number, { fd = 0, flags = 0, match = 0n }): Buffer {
  return Buffer.concat([u64(offset, size), u32(fd, 0, flags, 0), u64(match)])
}

function ioFds(...entries: readonly Buffer[]): Buffer {
  const length = entries.reduce((sum, each) => sum + each.length, 16)
  return Buffer.concat([u32(length, 0, 2, entries.length), ...entries])
}

async function ring(peer: Peer, answer: Buffer, fds: readonly number[]) {
  const [doorbells] = await Promise.all([
    peer.client.doorbells(2),
    (async () => {
      if (answer.length > 16) {
        const { length } = answer
        await peer.answer(u32(length, 0, 2, answer.readUInt32LE(12)))
      }
      await peer.answer(answer, fds)
    })(),
  ])
  return doorbells
}

function counterOf(fd: number): bigint {
  const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
  return BigInt(`0x${/eventfd-count:\s*([0-9a-f]+)/.exec(info)?.[1] ?? '0'}`)
}

describe('Client.doorbells()', () => {
  test('stores the value where the server wants it, then signals', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const eventfd = fds.own(makeBlockingEventfd())
    const file = fds.own(createMemfd('shadow', 3 * PAGE))
    const answer = ioFds(
      entry(0, 4, { at: PAGE + 0xffc }),
      entry(8, 2, { at: 2 }),
      entry(16, 0, { at: PAGE }), // of any width
    )
    const doorbells = await ring(peer, answer, [eventfd, file])
    doorbells.ring(0, 0xfedc_ba98)
    doorbells.ring(8, 0x1234, 2)
    doorbells.ring(16, 0x56, 1)
    assert.equal(counterOf(eventfd), 3n)
    const bytes = Buffer.alloc(3 * PAGE)
    readSync(file, bytes, 0, bytes.length, 0)
    assert.equal(bytes.readUInt32LE(PAGE + 0xffc), 0xfedc_ba98)
    assert.equal(bytes.readUInt16LE(2), 0x1234)
    assert.equal(bytes.readUInt8(PAGE), 0x56)
  })

  for (const [title, make] of [
    ['of 48 bytes', (match: bigint, flags: number) => entry(4, 4, { type: 0, flags, match })],
    ['of 40 bytes', (match: bigint, flags: number) => shortEntry(4, 4, { flags, match })],
  ] as const) {
    test(`signals without a shadow, and only the value that matches: entries ${title}`, async () => {
      using fds = new Fds()
      using peer = new Peer()
      const eventfd = fds.own(makeBlockingEventfd())
      const matching = await ring(peer, ioFds(make(7n, 1)), [eventfd])
      matching.ring(4, 7)
      assert.equal(counterOf(eventfd), 1n)
      matching.ring(4, 8) // by message
      const { payload } = await peer.next()
      assert.deepEqual(payload, Buffer.concat([u64(4), u32(2, 4, 8)]))
      const any = await ring(peer, ioFds(make(7n, 0)), [eventfd])
      any.ring(4, 8)
      assert.equal(counterOf(eventfd), 2n)
    })
  }

  test('rings by message what the server has no eventfd for, or one of a kind that we do not know', async () => {
    using fds = new Fds()
    using peer = new Peer()
    const eventfd = fds.own(makeBlockingEventfd())
    const before = openFds()
    const doorbells = await ring(peer, ioFds(entry(4, 4, { type: 1 })), [eventfd])
    assert.deepEqual(doorbells.byEventfd, [])
    doorbells.ring(4, 1)
    assert.equal((await peer.next()).command, 10)
    assert.deepEqual(openFds(), before)
  })

  test('rings by message at a server that does not know the command', async () => {
    using peer = new Peer()
    const [doorbells] = await Promise.all([
      peer.client.doorbells(2),
      (async () => {
        await peer.answer(Buffer.alloc(0), [], ERROR, 22)
        await peer.answer(answerOf({ flags: 3 }))
      })(),
    ])
    doorbells.ring(12, 1, 1)
    assert.deepEqual((await peer.next()).payload, Buffer.concat([u64(12), u32(2, 1), Buffer.of(1)]))
  })

  const SHADOW_SIZE = 100
  for (const [title, answer, code] of [
    ['entries of another size', Buffer.concat([u32(60, 0, 2, 1), Buffer.alloc(44)]), 'EPROTO'],
    ['fewer entries than it says', Buffer.concat([u32(64, 0, 2, 4), entry(0, 4, {})]), 'EPROTO'],
    ['2^32 - 1 entries', Buffer.concat([u32(64, 0, 2, 0xffff_ffff), entry(0, 4, {})]), 'EPROTO'],
    ['an eventfd that did not come', ioFds(entry(0, 4, { fd: 2 })), 'EPROTO'],
    ['a shadow that did not come', ioFds(entry(0, 4, { shadow: 9 })), 'EPROTO'],
    ['a shadow that is the eventfd', ioFds(entry(0, 4, { shadow: 0 })), 'EPROTO'],
    ['an eventfd that is the shadow', ioFds(entry(0, 4, { fd: 1, shadow: 0 })), 'EINVAL'],
    ['a value beyond the shadow', ioFds(entry(0, 4, { at: SHADOW_SIZE })), 'EPROTO'],
    ['a value over the shadow’s end', ioFds(entry(0, 4, { at: SHADOW_SIZE - 2 })), 'EPROTO'],
    ['a value over two pages', ioFds(entry(0, 4, { at: PAGE - 2 })), 'EPROTO'],
    ['a value of 2^40 bytes', ioFds(entry(0, 2 ** 40, {})), 'EPROTO'],
    ['a good one, then a bad one', ioFds(entry(0, 4, {}), entry(4, 4, { fd: 5 })), 'EPROTO'],
  ] as const) {
    test(`of ${title} is ${code}, and leaves nothing`, async () => {
      using fds = new Fds()
      using peer = new Peer()
      const given = [fds.own(makeBlockingEventfd()), fds.own(createMemfd('shadow', SHADOW_SIZE))]
      const before = held()
      await assert.rejects(ring(peer, answer, given), { code })
      assert.deepEqual(held(), before)
    })
  }

  test('keeps nothing when the client detaches', async () => {
    using fds = new Fds()
    const eventfd = fds.own(makeBlockingEventfd())
    const file = fds.own(createMemfd('shadow', PAGE))
    const before = held()
    {
      using peer = new Peer()
      await ring(peer, ioFds(entry(0, 4, {}), entry(4, 4, { at: 8 })), [eventfd, file])
    }
    assert.deepEqual(held(), before)
  })
})
