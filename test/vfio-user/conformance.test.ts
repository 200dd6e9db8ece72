/** The conformance suite: our own server passes it, and one that is wrong in one aspect fails exactly where it is wrong. */
import assert from 'node:assert/strict'
import { ftruncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { mtty } from '../../drivers/mtty/mtty.ts'
import { checksum } from '../../examples/checksum.ts'
import { scratchpad } from '../../examples/scratchpad.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { CHECKS } from '../../src/vfio-user/conformance/checks.ts'
import { type Report, type RunOptions, runChecks } from '../../src/vfio-user/conformance/run.ts'
import { listenUnix, socketPair } from '../../src/os/unix-socket.ts'
import { closeFd } from '../../src/os/fd.ts'
import { Fds, makeMemfd, openFds } from '../support/fds.ts'
import { type Fault, type Link, Proxy } from '../support/vfio-user-proxy.ts'
import { Scratch } from '../support/scratch.ts'
import { TestDevice } from '../support/vfio-user-device.ts'
import { Served } from '../support/vfio-user-served.ts'
import { RawClient, u32, u64 } from '../support/vfio-user-raw.ts'

function failures({ results }: Report): string[] {
  return results.filter(({ result }) => result === 'fail').map(({ id }) => id)
}

function explained({ results }: Report): string {
  return results
    .filter(({ result }) => result === 'fail')
    .map(({ id, expected, got }) => `${id}: expected ${expected}; got ${got}`)
    .join('\n')
}

describe('CHECKS', () => {
  test('have ids of group and name, each once, grouped together', () => {
    const ids = CHECKS.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length)
    for (const id of ids) assert.match(id, /^[a-z-]+\.[a-z0-9-]+$/)
    const groups = ids.map((id) => id.split('.')[0])
    const changes = groups.filter((group, i) => group !== groups[i - 1])
    assert.equal(new Set(changes).size, changes.length)
  })

  test('have a rule of one sentence and sections of the reference', () => {
    for (const { id, rule, reference } of CHECKS) {
      assert.match(rule, /^(?:[A-Z]|fds ).*[^.]\.$/, id)
      assert.match(reference, /^§\d+(?:\.\d+)?(?:, §\d+(?:\.\d+)?)*$/, id)
    }
  })
})

describe('runChecks() of our own server', () => {
  const drivers: Readonly<Record<string, () => Driver>> = {
    mtty: () => mtty,
    scratchpad: () => scratchpad,
    checksum: () => checksum,
    'a device with everything': () => new TestDevice().driver,
  }
  for (const [name, driver] of Object.entries(drivers)) {
    test(`passes every check with ${name}`, async () => {
      const before = openFds().length
      {
        using served = await Served.start(driver())
        const report = await runChecks({ path: served.path, destructive: true })
        assert.equal(explained(report), '')
        assert.equal(report.results.length, CHECKS.length)
        assert.equal(report.stopped, undefined)
        assert.equal(report.passed + report.skipped, CHECKS.length)
      }
      assert.ok(openFds().length <= before + 2, 'fds are left open') // of the reactor, made at its first use
    })
  }
})

describe('runChecks() without destructive', () => {
  test('reaches no BAR, resets nothing and maps nothing', async () => {
    const device = new TestDevice()
    using served = await Served.start(device.driver)
    const report = await runChecks({ path: served.path, destructive: false })
    assert.equal(explained(report), '')
    assert.deepEqual(device.log, [])
    assert.deepEqual(
      device.resets.filter((why) => why !== 'disconnect'),
      [],
    )
    const { regionWrites, dmaMaps, dmaUnmaps, resets } = served.stats
    assert.deepEqual(
      { regionWrites, dmaMaps, dmaUnmaps, resets },
      { regionWrites: 0, dmaMaps: 0, dmaUnmaps: 0, resets: 0 },
    )
    for (const { destructive, result, reason } of report.results) {
      if (destructive)
        assert.deepEqual({ result, reason }, { result: 'skip', reason: 'destructive' })
    }
  })

  test('runs those of --only, by id and by group', async () => {
    using served = await Served.start(new TestDevice().driver)
    const only = ['info', 'framing.ids']
    const { results } = await runChecks({ path: served.path, destructive: false, only })
    const expected = CHECKS.map(({ id }) => id).filter(
      (id) => id.startsWith('info.') || id === 'framing.ids',
    )
    assert.deepEqual(
      results.map(({ id }) => id),
      expected,
    )
  })

  test('tells of each result when it is there', async () => {
    using served = await Served.start(new TestDevice().driver)
    const told: unknown[] = []
    const { results } = await runChecks({
      path: served.path,
      destructive: false,
      only: ['info'],
      onResult: (result) => told.push(result),
    })
    assert.deepEqual(told, results)
  })
})

// Numbers of commands and flags, restated from sections 3 and 4 of the reference.
const VERSION = 1
const DMA_MAP = 2
const DMA_UNMAP = 3
const GET_INFO = 4
const GET_REGION_INFO = 5
const GET_IRQ_INFO = 7
const SET_IRQS = 8
const REGION_READ = 9
const REGION_WRITE = 10
const RESET = 13
const UNKNOWN = 99
const ERROR = 0x20
const NO_REPLY = 0x10
const EIO = 5
const EINVAL = 22

interface Header {
  readonly command: number
  readonly flags: number
}

function headerOf(message: Buffer): Header {
  return { command: message.readUInt16LE(2), flags: message.readUInt32LE(8) }
}

/** The message with another payload, its size with it. */
function withPayload(message: Buffer, payload: Buffer): Buffer {
  const changed = Buffer.concat([message.subarray(0, 16), payload])
  changed.writeUInt32LE(changed.length, 4)
  return changed
}

function patched(message: Buffer, patch: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(message)
  patch(copy)
  return copy
}

/** Spoils replies that are successes of this command. */
function ofSuccess(command: number, spoil: (message: Buffer) => Buffer): Fault {
  return {
    reply(message) {
      const header = headerOf(message)
      return header.command === command && (header.flags & ERROR) === 0 ? spoil(message) : message
    },
  }
}

function ofError(spoil: (message: Buffer) => Buffer, command?: number): Fault {
  return {
    reply(message) {
      const header = headerOf(message)
      const concerned = command === undefined || header.command === command
      return concerned && (header.flags & ERROR) !== 0 ? spoil(message) : message
    },
  }
}

/** Spoils requests that are one whole message of this command. */
function ofRequest(command: number, spoil: (message: Buffer) => Buffer): Fault {
  return {
    request(bytes) {
      const whole = bytes.length >= 16 && bytes.readUInt32LE(4) === bytes.length
      return whole && headerOf(bytes).command === command ? spoil(bytes) : bytes
    },
  }
}

/** Of one region, when it is told of. */
function ofRegion(index: number, spoil: (message: Buffer) => Buffer): Fault {
  return ofSuccess(GET_REGION_INFO, (message) =>
    message.readUInt32LE(16 + 8) === index ? spoil(message) : message,
  )
}

function echoRequest(at: number, width: 2 | 4, value: number): (message: Buffer) => Buffer {
  return (message) =>
    patched(message, (copy) =>
      width === 2 ? copy.writeUInt16LE(value, at) : copy.writeUInt32LE(value, at),
    )
}

/** VERSION replies with this JSON, and its NUL. */
function saying(json: string): Fault {
  return ofSuccess(VERSION, (message) =>
    withPayload(message, Buffer.concat([message.subarray(16, 20), Buffer.from(`${json}\0`)])),
  )
}

interface Case {
  readonly fault: Fault
  readonly fails: readonly string[]
  readonly options?: Partial<RunOptions>
}

/** How long a check waits for what a server leaves out. */
const SHORT = { limitMs: 1000 }

const CASES: Readonly<Record<string, Case>> = {
  'VERSION without its NUL': {
    fault: ofSuccess(VERSION, (message) => withPayload(message, message.subarray(16, -1))),
    fails: ['version.reply-json'],
  },
  'VERSION with a NUL too many': {
    fault: ofSuccess(VERSION, (message) =>
      withPayload(message, Buffer.concat([message.subarray(16), Buffer.of(0)])),
    ),
    fails: ['version.reply-json'],
  },
  'VERSION with an array': {
    fault: saying('[]'),
    fails: ['version.reply-json'],
    options: { only: ['version'] },
  },
  'VERSION with 300 bytes': {
    fault: saying(`{"capabilities":{"max_msg_fds":16}${' '.repeat(300)}}`),
    options: { only: ['version'] },
    fails: ['version.reply-size'],
  },
  'VERSION with max_msg_fds 17': {
    fault: saying('{"capabilities":{"max_msg_fds":17}}'),
    fails: ['version.reply-capabilities'],
    options: { only: ['version'] },
  },
  'VERSION with room for 128 bytes': {
    fault: saying('{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":128}}'),
    // it takes more than it says
    fails: ['version.reply-transfer-size', 'access.read-long'],
    options: { only: ['version', 'access.read-long'] },
  },
  'VERSION that offers what was not asked for': {
    fault: saying('{"capabilities":{"max_msg_fds":16,"write_multiple":true}}'),
    fails: ['version.reply-unasked'],
  },
  'a twin socket without its fd': {
    fault: saying('{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}'),
    fails: [
      'version.reply-unasked',
      'version.twin-socket',
      'version.twin-unwanted',
      'version.twin-end',
    ],
    options: { only: ['version'] },
  },
  'VERSION with a later minor': {
    fault: ofSuccess(VERSION, echoRequest(18, 2, 3)),
    fails: ['version.numbers'],
  },
  'VERSION with another major': {
    fault: ofSuccess(VERSION, echoRequest(16, 2, 1)),
    fails: ['version.numbers'],
  },
  'no need of VERSION': {
    fault: {
      request(bytes, { notes }) {
        const isFirst = !notes.has('begun')
        notes.set('begun', 1)
        if (!isFirst || bytes.length < 4 || bytes.readUInt16LE(2) === VERSION) return bytes
        notes.set('swallow', 1)
        const version = Buffer.concat([Buffer.of(0, 0, 1, 0), u32(20, 0, 0), Buffer.alloc(4)])
        return Buffer.concat([version, bytes])
      },
      reply(message, { notes }) {
        return notes.delete('swallow') ? Buffer.alloc(0) : message
      },
    },
    fails: ['version.first'],
  },
  'other ids': {
    fault: {
      reply: (message) =>
        patched(message, (copy) => copy.writeUInt16LE(copy.readUInt16LE(0) ^ 1, 0)),
    },
    fails: ['framing.ids', 'framing.ids-repeated'],
  },
  'another command in the reply to DEVICE_GET_REGION_INFO': {
    fault: ofSuccess(GET_REGION_INFO, echoRequest(2, 2, GET_IRQ_INFO)),
    fails: ['framing.command', 'framing.order'],
  },
  'a reserved flag in replies': {
    fault: ofSuccess(GET_INFO, echoRequest(8, 4, 0x41)),
    fails: ['framing.reply'],
  },
  'an errno in a success': {
    fault: ofSuccess(GET_INFO, echoRequest(12, 4, EIO)),
    fails: ['framing.reply'],
  },
  'payload in error replies': {
    fault: ofError((message) => withPayload(message, Buffer.alloc(16))),
    fails: ['framing.error-reply-size'],
  },
  'errno 0 to unknown commands': {
    fault: ofError(echoRequest(12, 4, 0), UNKNOWN),
    fails: [
      'version.first',
      'framing.error-reply',
      'framing.unknown-command',
      'framing.payload-drained',
      'fds.unexpected',
    ],
  },
  'no reply to unknown commands': {
    fault: ofError(() => Buffer.alloc(0), UNKNOWN),
    fails: [
      'framing.ids',
      'framing.command',
      'framing.error-reply',
      'framing.error-reply-size',
      'framing.unknown-command',
      'framing.order',
      'framing.payload-drained',
      'fds.unexpected',
    ],
    options: SHORT,
  },
  'replies in another order': {
    fault: { burst: (messages) => messages.toReversed() },
    fails: ['framing.order', 'access.posted-order', 'dma.pipeline'],
  },
  'answers to posted writes': {
    fault: {
      request(bytes) {
        const whole = bytes.length >= 16 && bytes.readUInt32LE(4) === bytes.length
        if (!whole || headerOf(bytes).command !== REGION_WRITE) return bytes
        return patched(bytes, (copy) => copy.writeUInt32LE(copy.readUInt32LE(8) & ~NO_REPLY, 8))
      },
    },
    fails: [
      'framing.no-reply-error',
      'access.posted',
      'access.posted-refused',
      'access.posted-order',
    ],
  },
  'another errno in DEVICE_GET_IRQ_INFO': {
    fault: ofError(echoRequest(12, 4, EIO), GET_IRQ_INFO),
    fails: [
      'framing.header-alone',
      'irqs.short',
      'irqs.small-argsz',
      'irqs.bad-index',
      'fds.unexpected',
    ],
  },
  'argsz 0 in DEVICE_GET_INFO': {
    fault: ofSuccess(GET_INFO, echoRequest(16, 4, 0)),
    fails: ['info.argsz'],
  },
  'argsz 0 in DEVICE_GET_REGION_INFO': {
    fault: ofSuccess(GET_REGION_INFO, echoRequest(16, 4, 0)),
    fails: ['regions.argsz', 'regions.larger-argsz'],
  },
  'argsz 0 in DEVICE_GET_IRQ_INFO': {
    fault: ofSuccess(GET_IRQ_INFO, echoRequest(16, 4, 0)),
    fails: ['irqs.argsz'],
  },
  'any argsz in DEVICE_GET_INFO': {
    fault: ofRequest(GET_INFO, (message) =>
      message.length < 32 ? message : patched(message, (copy) => copy.writeUInt32LE(16, 16)),
    ),
    fails: ['framing.error-reply', 'info.small-argsz'],
  },
  '12 bytes in DEVICE_GET_IRQ_INFO': {
    fault: ofSuccess(GET_IRQ_INFO, (message) => withPayload(message, message.subarray(16, 28))),
    fails: ['irqs.reply', 'irqs.long'],
    options: { only: ['irqs.reply', 'irqs.long', 'irqs.short', 'info'] },
  },
  'an unknown flag of the device': {
    fault: ofSuccess(GET_INFO, echoRequest(20, 4, 7)),
    fails: ['info.flags'],
  },
  'too few regions': {
    fault: ofSuccess(GET_INFO, echoRequest(24, 4, 7)),
    fails: ['info.counts', 'regions.config', 'regions.bad-index'],
    options: { only: ['info', 'regions'] },
  },
  'the wrong index in DEVICE_GET_REGION_INFO': {
    fault: ofRegion(3, echoRequest(16 + 8, 4, 4)),
    fails: ['regions.index'],
  },
  'an unknown flag of a region': {
    fault: ofRegion(0, echoRequest(16 + 4, 4, 0x13)),
    fails: ['regions.flags'],
  },
  'flags of a region that is not there': {
    fault: ofRegion(8, echoRequest(16 + 4, 4, 3)),
    fails: ['regions.absent'],
  },
  'a BAR of 3000 bytes': {
    fault: ofRegion(0, echoRequest(16 + 16, 4, 3000)),
    fails: ['regions.bar-sizes', 'config.bar-masks'],
  },
  'a size in the upper half of a 64-bit BAR': {
    fault: ofRegion(3, echoRequest(16 + 16, 4, 4096)),
    fails: ['regions.bar-64'],
  },
  'capabilities without an offset': {
    fault: ofRegion(0, echoRequest(16 + 4, 4, 11)),
    fails: ['regions.capabilities'],
  },
  'a BAR to be mapped without an fd': {
    fault: ofRegion(0, echoRequest(16 + 4, 4, 7)),
    fails: ['regions.fds', 'regions.files'],
  },
  'a BAR of I/O ports to be mapped': {
    fault: ofRegion(1, echoRequest(16 + 4, 4, 7)),
    fails: ['regions.io-unmapped', 'regions.fds', 'regions.files'],
  },
  'an index of MSI-X with a vector too many': {
    fault: ofSuccess(GET_IRQ_INFO, (message) =>
      message.readUInt32LE(24) === 2 ? echoRequest(28, 4, 21)(message) : message,
    ),
    fails: ['irqs.msix'],
  },
  'INTx without a vector': {
    fault: ofSuccess(GET_IRQ_INFO, (message) =>
      message.readUInt32LE(24) === 0 ? echoRequest(28, 4, 0)(message) : message,
    ),
    fails: ['irqs.intx'],
  },
  'another offset in REGION_READ': {
    fault: ofSuccess(REGION_READ, echoRequest(16, 4, 0x1000)),
    fails: ['access.read-reply'],
  },
  'REGION_READ that reads past the end': {
    fault: ofRequest(REGION_READ, (message) => {
      if (message.length < 32) return message
      const size = message.readUInt32LE(24) === 7 ? 256 : Infinity
      const end = message.readBigUInt64LE(16) + BigInt(message.readUInt32LE(28))
      return Number(end) === size + 1 ? echoRequest(16, 4, 0)(message) : message
    }),
    fails: ['access.read-last', 'access.read-outside'],
  },
  'REGION_WRITE with a header alone': {
    fault: ofSuccess(REGION_WRITE, (message) => withPayload(message, Buffer.alloc(0))),
    fails: ['access.write-reply'],
  },
  'REGION_WRITE of any length': {
    fault: ofRequest(REGION_WRITE, (message) => {
      if (message.length < 32) return message
      const count = message.length - 32
      return echoRequest(28, 4, count)(message)
    }),
    fails: ['access.write-length'],
  },
  'DMA_MAP with a payload in its reply': {
    fault: ofSuccess(DMA_MAP, (message) => withPayload(message, Buffer.alloc(32))),
    fails: ['dma.map-reply'],
  },
  'DMA_UNMAP with a header alone': {
    fault: ofSuccess(DMA_UNMAP, (message) => withPayload(message, Buffer.alloc(0))),
    fails: ['dma.unmap-reply'],
  },
  'DMA_UNMAP that says a page has gone where none has': {
    fault: ofSuccess(DMA_UNMAP, (message) =>
      message.readBigUInt64LE(32) === 0n
        ? patched(message, (copy) => copy.writeBigUInt64LE(4096n, 32))
        : message,
    ),
    fails: [
      'life.forgets-maps',
      'dma.map-same',
      'dma.unmap-again',
      'dma.unmap-more',
      'dma.unmap-all',
    ],
  },
  'any flags in DMA_MAP': {
    fault: ofRequest(DMA_MAP, (message) =>
      message.length < 48 ? message : patched(message, (copy) => copy.writeUInt32LE(3, 20)),
    ),
    fails: ['dma.map-rights', 'dma.map-overlap', 'dma.map-flags'],
  },
  'any length of DEVICE_RESET': {
    fault: ofRequest(RESET, (message) => withPayload(message, Buffer.alloc(0))),
    fails: ['reset.payload'],
  },
  'DEVICE_RESET that does nothing': {
    fault: ofRequest(RESET, (message) =>
      message.length === 16
        ? // to be answered with the header alone, too: an index without vectors is disabled
          patched(withPayload(message, u32(20, 0x21, 4, 0, 0)), (copy) =>
            copy.writeUInt16LE(SET_IRQS, 2),
          )
        : message,
    ),
    fails: ['reset.registers'],
  },
  'loopback tests that do nothing': {
    fault: ofRequest(SET_IRQS, (message) => {
      if (message.length !== 36) return message
      const [flags, index, start, count] = [20, 24, 28, 32].map((at) => message.readUInt32LE(at))
      const fires = flags === 0x21 && (index ?? 9) <= 2 && start === 0 && count === 1
      return fires ? withPayload(message, u32(20, 0x21, 4, 0, 0)) : message
    }),
    fails: [
      'set-irqs.trigger',
      'set-irqs.replace',
      'set-irqs.disable',
      'set-irqs.chunks',
      'reset.keeps-irqs',
    ],
    options: SHORT,
  },
  'DEVICE_SET_IRQS that takes no eventfds away': {
    fault: ofRequest(SET_IRQS, (message) => {
      if (message.length !== 36) return message
      const [argsz, flags, index, start, count] = [16, 20, 24, 28, 32].map((at) =>
        message.readUInt32LE(at),
      )
      const disables = argsz === 20 && flags === 0x21 && index === 2 && start === 0 && count === 0
      return disables ? withPayload(message, u32(20, 0x21, 4, 0, 0)) : message
    }),
    fails: ['set-irqs.disable'],
    options: { only: ['set-irqs', 'reset'] },
  },
  'fds that are never closed': {
    fault: { keepsFds: true },
    fails: CHECKS.map(({ id }) => id).filter((id) => id.startsWith('fds.')),
    options: SHORT,
  },
  'a second client that waits': {
    fault: { queues: true },
    fails: ['life.second-client'],
    options: SHORT,
  },
}

/** A reply to `request`. */
function replyTo(request: Buffer, payload: Buffer, error = 0): Buffer {
  const reply = withPayload(request, payload)
  reply.writeUInt32LE(error === 0 ? 1 : 0x21, 8)
  reply.writeUInt32LE(error, 12)
  return reply
}

interface Features {
  /** Of feature MIGRATION. */
  readonly flags?: number
  /** Answers a request in place of the right answer. */
  readonly wrong?: (command: number, flags: number, payload: Buffer) => Buffer | undefined
}

/** Answers DEVICE_FEATURE and MIG_DATA_* in place of the server, as section 14 has them. */
function withFeatures({ flags = 5, wrong }: Features = {}): Fault {
  const STATE_SIZE = 40_000
  let state = 2
  let sent = 0
  let logging = false
  const setState = (to: number): number => {
    const known = [1, 2, 3, 4].includes(to) || (to === 6 && (flags & 4) !== 0)
    if (!known || (state === 3 && to === 6)) return EINVAL
    if (to !== state) sent = 0
    state = to
    return 0
  }
  const answerFeature = (payload: Buffer): Buffer | number => {
    if (payload.length < 8) return EINVAL
    const [argsz, all, data] = [
      payload.readUInt32LE(0),
      payload.readUInt32LE(4),
      payload.subarray(8),
    ]
    const [feature, action] = [all & 0xffff, all >>> 16]
    const actions = { 1: 1, 2: 3, 6: 2, 7: 2, 8: 1 }[feature] ?? 0
    const isProbe = (action & 4) !== 0
    const wanted = action & 3
    if (argsz < 8 || action > 7 || wanted === 0 || (wanted & ~actions) !== 0) return EINVAL
    if (isProbe) return payload.subarray(0, 8)
    if (wanted === 3) return EINVAL
    const head = payload.subarray(0, 8)
    if (feature === 1) return argsz < 16 ? EINVAL : Buffer.concat([head, u64(flags)])
    if (feature === 2 && wanted === 1) {
      return argsz < 16 ? EINVAL : Buffer.concat([head, u32(state, 0)])
    }
    if (feature === 2) {
      const errno = data.length === 8 ? setState(data.readUInt32LE(0)) : EINVAL
      return errno === 0 ? payload : errno
    }
    if (feature === 6) {
      const right =
        data.length >= 16 &&
        data.readBigUInt64LE(0) === 4096n &&
        data.length === 16 + 16 * data.readUInt32LE(8)
      logging ||= right
      return right ? payload : EINVAL
    }
    if (feature === 7) {
      logging = false
      return head
    }
    return logging ? Buffer.concat([payload, Buffer.alloc(argsz - payload.length)]) : EINVAL
  }
  const answerRead = (payload: Buffer): Buffer | number => {
    if (payload.length < 8 || ![3, 6].includes(state)) return EINVAL
    const [argsz, size] = [payload.readUInt32LE(0), payload.readUInt32LE(4)]
    if (size > 1_048_576 || argsz < 8 + size) return EINVAL
    const length = Math.min(size, STATE_SIZE - sent)
    sent += length
    return Buffer.concat([u32(8 + length, length), Buffer.alloc(length, 7)])
  }
  const answerWrite = (payload: Buffer): Buffer | number => {
    const right = payload.length >= 8 && payload.length === 8 + payload.readUInt32LE(4)
    return right && state === 4 ? Buffer.alloc(0) : EINVAL
  }
  return {
    request(bytes, link) {
      if (bytes.length < 16 || bytes.readUInt32LE(4) !== bytes.length) return bytes
      const { command, flags: header } = headerOf(bytes)
      const payload = bytes.subarray(16)
      const isMine = (command >= 16 && command <= 18) || (command === RESET && state % 2 === 1)
      if (!isMine) return bytes
      if ((header & NO_REPLY) !== 0) return Buffer.alloc(0)
      const answers = { 16: answerFeature, 17: answerRead, 18: answerWrite, 13: () => EINVAL }
      const answer =
        wrong?.(command, payload.length < 8 ? 0 : payload.readUInt32LE(4), payload) ??
        answers[command as keyof typeof answers](payload)
      const isErrno = typeof answer === 'number'
      link.answer(replyTo(bytes, isErrno ? Buffer.alloc(0) : answer, isErrno ? answer : 0))
      return Buffer.alloc(0)
    },
  }
}

interface Mappable {
  readonly file: number
  /** Areas of the region: offset and size. */
  readonly areas?: readonly (readonly [number, number])[]
  /** Flags of the answer that has no room for capabilities. */
  readonly shortFlags?: number
  /** Where the chain of capabilities goes on. */
  readonly next?: number
  readonly copies?: number
}

/** BAR 2, of 4 MiB, can be mapped, but for what lies between two areas. */
function withMappableBar({
  file,
  areas = [
    [0x1000, 0x1000],
    [0x10_0000, 0x30_0000],
  ],
  shortFlags = 7,
  next = 0,
  copies = 1,
}: Mappable): Fault {
  return {
    request(bytes, { notes }) {
      if (bytes.length === 48 && headerOf(bytes).command === GET_REGION_INFO)
        notes.set('argsz', bytes.readUInt32LE(16))
      return bytes
    },
    reply(message, { notes }) {
      const { command, flags } = headerOf(message)
      if (command !== GET_REGION_INFO || (flags & ERROR) !== 0) return message
      if (message.readUInt32LE(24) !== 2) return message
      const capabilities = Buffer.concat([
        Buffer.from([1, 0, 1, 0]),
        u32(next, areas.length, 0),
        ...areas.map((area) => u64(...area)),
      ])
      const needed = 32 + capabilities.length
      const hasRoom = (notes.get('argsz') ?? 0) >= needed
      const fixed = patched(message.subarray(16), (copy) => {
        copy.writeUInt32LE(needed, 0)
        copy.writeUInt32LE(hasRoom ? 15 : shortFlags, 4)
        copy.writeUInt32LE(hasRoom ? 32 : 0, 12)
      })
      const bytes = withPayload(message, hasRoom ? Buffer.concat([fixed, capabilities]) : fixed)
      return { bytes, fds: hasRoom ? Array.from({ length: copies }, () => file) : [] }
    },
  }
}

/** VERSION that asks for a twin socket gets this file for one. */
function withTwin(file: number): Fault {
  const json = '{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}'
  const { reply } = saying(json)
  return {
    request(bytes, { notes }) {
      if (bytes.includes('"twin_socket":{"supported":true}')) notes.set('twin', 1)
      return bytes
    },
    reply(message, link) {
      const isAsked = headerOf(message).command === VERSION && link.notes.has('twin')
      const bytes = isAsked ? reply?.(message, link) : undefined
      return Buffer.isBuffer(bytes) ? { bytes, fds: [file] } : message
    },
  }
}

describe('runChecks() of a server with', () => {
  let served: Served
  let scratch: Scratch
  let fds: Fds
  let proxies = 0
  before(async () => {
    scratch = new Scratch()
    fds = new Fds()
    served = await Served.start(new TestDevice().driver)
  })
  after(() => {
    served[Symbol.dispose]()
    fds[Symbol.dispose]()
    scratch[Symbol.dispose]()
  })

  async function run(fault: Fault, options: Partial<RunOptions> = {}): Promise<Report> {
    using proxy = new Proxy(join(scratch.path, String(++proxies)), served.path, fault)
    return await runChecks({ path: proxy.path, destructive: true, ...options })
  }

  function memory(size: number): number {
    const fd = fds.own(makeMemfd(0))
    ftruncateSync(fd, size)
    return fd
  }

  test('no fault, through the proxy of these tests', async () => {
    assert.equal(explained(await run({})), '')
  })

  for (const [name, { fault, fails, options }] of Object.entries(CASES)) {
    test(`${name} fails the checks of just that`, async () => {
      const destructive = CHECKS.some((check) => check.destructive && fails.includes(check.id))
      const report = await run(fault, { destructive, ...options })
      assert.deepEqual(failures(report), fails, explained(report))
      assert.equal(report.stopped, undefined)
    })
  }

  test('a twin socket that never ends fails the check of just that', async () => {
    const [twin, other] = socketPair()
    fds.own(twin)
    fds.own(other)
    const report = await run(withTwin(twin), { only: ['version'], ...SHORT })
    assert.deepEqual(failures(report), ['version.twin-end'], explained(report))
  })

  test('a twin socket that is none fails the checks of just that', async () => {
    const report = await run(withTwin(memory(0)), { only: ['version'] })
    assert.deepEqual(failures(report), ['version.twin-socket', 'version.twin-end'])
  })

  const MIB = 2 ** 20
  const only = { only: ['regions'], destructive: false }

  test('a BAR to be mapped passes', async () => {
    const report = await run(withMappableBar({ file: memory(4 * MIB) }), only)
    assert.equal(explained(report), '')
    const skipped = report.results.filter(({ result }) => result === 'skip').map(({ id }) => id)
    assert.deepEqual(skipped, [])
  })

  for (const [what, wrong, fails] of [
    ['a file that is too short', { size: 3 * MIB }, ['regions.files']],
    ['an area that is no whole page', { areas: [[0x800, 0x1000]] }, ['regions.sparse']],
    ['an empty area', { areas: [[0x1000, 0]] }, ['regions.sparse']],
    [
      'areas that overlap',
      {
        areas: [
          [0x1000, 0x2000],
          [0x2000, 0x1000],
        ],
      },
      ['regions.sparse'],
    ],
    ['an area beyond the BAR', { areas: [[4 * MIB, 0x1000]] }, ['regions.sparse', 'regions.files']],
    ['flag 8 in the short answer', { shortFlags: 15 }, ['regions.short-answer']],
    [
      'capabilities in a circle',
      { next: 32 },
      ['regions.capabilities', 'regions.sparse', 'regions.files'],
    ],
    [
      'a capability outside the answer',
      { next: 4096 },
      ['regions.capabilities', 'regions.sparse', 'regions.files'],
    ],
    ['two fds', { copies: 2 }, ['regions.fds']],
  ] as const satisfies readonly (readonly [
    string,
    Partial<Omit<Mappable, 'file'>> & { readonly size?: number },
    readonly string[],
  ])[]) {
    test(`a BAR to be mapped with ${what} fails the checks of just that`, async () => {
      const { size = 4 * MIB } = 'size' in wrong ? wrong : {}
      const report = await run(withMappableBar({ ...wrong, file: memory(size) }), only)
      assert.deepEqual(failures(report), fails, explained(report))
    })
  }

  const migration = { only: ['features', 'migration', 'reset'] }

  test('migration passes', async () => {
    const report = await run(withFeatures(), migration)
    assert.equal(explained(report), '')
    const skipped = report.results.filter(({ result }) => result === 'skip').map(({ id }) => id)
    assert.deepEqual(skipped, ['reset.unsupported'])
  })

  test('migration without PRE_COPY passes', async () => {
    assert.equal(explained(await run(withFeatures({ flags: 1 }), migration)), '')
  })

  for (const [what, features, fails] of [
    ['no STOP_COPY', { flags: 4 }, ['migration.flags']],
    [
      'data in the answer to PROBE',
      {
        wrong: (command, flags, payload) =>
          command === 16 && flags === 0x5_0001 ? Buffer.concat([payload, u64(0)]) : undefined,
      },
      ['features.probe'],
    ],
    [
      'state ERROR to be set',
      {
        wrong: (command, flags, payload) =>
          command === 16 && flags === 0x2_0002 && payload.readUInt32LE(8) === 0
            ? payload
            : undefined,
      },
      ['migration.bad-states'],
    ],
    [
      'payload in the answer to MIG_DATA_WRITE',
      {
        wrong: (command, _, payload) =>
          command === 18 && payload.length > 100 ? payload.subarray(0, 8) : undefined,
      },
      ['migration.write-length', 'migration.round-trip'],
    ],
  ] as const satisfies readonly (readonly [string, Features, readonly string[]])[]) {
    test(`migration with ${what} fails the checks of just that`, async () => {
      const report = await run(withFeatures(features), migration)
      assert.deepEqual(failures(report), fails, explained(report))
    })
  }

  test('a command that kills it says so and stops', async () => {
    const fault = ofRequestOnLink(UNKNOWN, (link) => link.die())
    const report = await run(fault, { only: ['info', 'framing'] })
    assert.deepEqual(failures(report), ['framing.ids'])
    assert.equal(report.results.at(-1)?.id, 'framing.ids')
    assert.match(
      report.stopped ?? '',
      /^the server does not serve any more: ECONNREFUSED: connect /,
    )
  })

  test('a check without end is given up', async () => {
    const report = await run({}, { only: ['framing.pipeline'], checkLimitMs: 1 })
    const [result] = report.results
    assert.equal(result?.expected, 'the check to end in 1 ms')
  })
})

function ofRequestOnLink(command: number, act: (link: Link) => void): Fault {
  return {
    request(bytes, link) {
      if (bytes.length >= 16 && headerOf(bytes).command === command) act(link)
      return bytes
    },
  }
}

describe('runChecks() without a server that answers', () => {
  test('says what connect said', async () => {
    using scratch = new Scratch()
    const nothing = { path: join(scratch.path, 'none'), destructive: false }
    await assert.rejects(runChecks(nothing), { code: 'ENOENT' })
    const path = scratch.write('file', '')
    await assert.rejects(runChecks({ path, destructive: false }), { code: 'ECONNREFUSED' })
  })

  test('gives up one that is silent', async () => {
    using scratch = new Scratch()
    const path = join(scratch.path, 'silent')
    const listener = listenUnix(path, 0o600)
    try {
      await assert.rejects(runChecks({ path, destructive: false, limitMs: 50 }), {
        code: 'EPROTO',
        message: `${path}: expected an answer to VERSION; got nothing in 50 ms`,
      })
    } finally {
      closeFd(listener)
    }
  })

  test('says that another client has it', async () => {
    using served = await Served.start(new TestDevice().driver)
    using _ = await RawClient.attach(served.path)
    await assert.rejects(runChecks({ path: served.path, destructive: false, limitMs: 50 }), {
      code: 'EPROTO',
      message: /another client has it$/,
    })
  })
})
