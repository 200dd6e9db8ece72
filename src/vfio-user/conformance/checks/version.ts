/** VERSION: what is proposed, what is answered, and what ends the connection. */
import { fstatSync } from 'node:fs'
import * as wire from '../../../abi/vfio-user.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectRefusedEnd,
  expectSuccess,
} from '../check.ts'
import type { Frame } from '../raw-connection.ts'
import { access, deviceInfo, message, PROPOSALS, u16, version } from '../requests.ts'
import { capabilitiesOf, isObject } from '../survey.ts'
import { Skip, Violation } from '../violation.ts'

const { VFIO_USER_VERSION: VERSION } = wire
const EMPTY = '{"capabilities":{}}'
/** Far more than any client says; 4 KiB are plenty (§5). */
const LONG_JSON = 64 * 1024

/** Says VERSION on a connection of its own. */
async function propose(
  context: Context,
  what: string,
  payload: Uint8Array,
  fds = 0,
): Promise<Frame> {
  const connection = await context.connect()
  const frame = await connection.request(VERSION, payload)
  expectSuccess(frame, what)
  expect(frame.payload.length >= 4, `${what}: at least 4 bytes of payload`, frame.payload.length)
  expect(frame.fds.length <= fds, `${what}: ${fds} fds at most`, frame.fds.length)
  await connection.expectAlive(what)
  await connection.finish()
  return frame
}

/** A check that each of some proposals is accepted. */
function accepts(
  id: string,
  rule: string,
  reference: string,
  proposals: Readonly<Record<string, Uint8Array>>,
): Check {
  return {
    id,
    rule,
    reference,
    destructive: false,
    async run(context) {
      for (const [what, payload] of Object.entries(proposals)) await propose(context, what, payload)
    },
  }
}

/** A check that each of some proposals ends the connection. */
function refuses(
  id: string,
  rule: string,
  reference: string,
  proposals: Readonly<Record<string, Uint8Array>>,
): Check {
  return {
    id,
    rule,
    reference,
    destructive: false,
    async run(context) {
      for (const [what, payload] of Object.entries(proposals)) {
        const connection = await context.connect()
        await connection.command(VERSION, payload)
        await expectRefusedEnd(connection, what)
        await connection.finish()
      }
    },
  }
}

function capability(key: string, value: unknown): Buffer {
  return version(JSON.stringify({ capabilities: { [key]: value } }))
}

function each(what: (value: string) => string, values: readonly string[]): Record<string, Buffer> {
  return Object.fromEntries(values.map((value) => [what(value), version(value)]))
}

interface KnownKey {
  readonly expected: string
  readonly valid: (value: unknown) => boolean
}

function count(least: number, most: number): KnownKey {
  return {
    expected: `an integer from ${least} to ${most}`,
    valid: (value) =>
      typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most,
  }
}

const OBJECT: KnownKey = { expected: 'an object', valid: isObject }
const BOOLEAN: KnownKey = {
  expected: 'true or false',
  valid: (value) => typeof value === 'boolean',
}

/** What QEMU 11 accepts of each key (§5). */
const KNOWN_KEYS: Readonly<Record<string, KnownKey>> = {
  max_msg_fds: count(0, 16),
  max_data_xfer_size: count(1, 67_108_864),
  max_dma_maps: count(0, 65_535),
  pgsizes: {
    expected: 'a bitmap without bits below 4096',
    valid: (value) => typeof value === 'number' && value >= 4096 && value % 4096 === 0,
  },
  migration: OBJECT,
  twin_socket: OBJECT,
  write_multiple: BOOLEAN,
  sparse_mmap_fds: BOOLEAN,
}

export const VERSION_CHECKS: readonly Check[] = [
  {
    id: 'version.first',
    rule: 'Any first message but VERSION is refused: EINVAL and the end of the connection, or its end at once.',
    reference: '§5, §19',
    destructive: false,
    async run(context) {
      for (const [what, bytes] of [
        ['DEVICE_GET_INFO first', message(wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo())],
        ['REGION_READ first', message(wire.VFIO_USER_REGION_READ, access(7, 0, 4))],
        ['an unknown command first', message(99)],
      ] as const) {
        const connection = await context.connect()
        await connection.send(bytes)
        await expectRefusedEnd(connection, what)
        await connection.finish()
      }
    },
  },
  {
    id: 'version.numbers',
    rule: 'VERSION is answered with major 0 and a minor that is at most the proposed one.',
    reference: '§5',
    destructive: false,
    async run(context) {
      for (const minor of [0, 1, 2, 0xffff]) {
        const what = `VERSION 0.${minor}`
        const { payload } = await propose(context, what, version(EMPTY, { minor }))
        const [major, answered] = [payload.readUInt16LE(0), payload.readUInt16LE(2)]
        expect(
          major === 0 && answered <= minor,
          `${what}: 0.0 to 0.${minor}`,
          `${major}.${answered}`,
        )
      }
    },
  },
  {
    id: 'version.reply-json',
    rule: 'The answer to VERSION has JSON, an object with an object `capabilities`, ended by one NUL.',
    reference: '§4.1, §5',
    destructive: false,
    async run(context) {
      const { payload } = await propose(context, 'VERSION', PROPOSALS.qemu)
      const text = payload.subarray(4).toString('latin1')
      expect(text.endsWith('\0'), 'JSON that ends with a NUL', JSON.stringify(text.slice(-20)))
      expect(text.indexOf('\0') === text.length - 1, 'one NUL', JSON.stringify(text))
      let json: unknown
      try {
        json = JSON.parse(text.slice(0, -1))
      } catch {
        throw new Violation('JSON', JSON.stringify(text))
      }
      expect(
        isObject(json) && isObject(json['capabilities']),
        'an object with an object named capabilities',
        text.slice(0, -1),
      )
    },
  },
  {
    id: 'version.reply-size',
    rule: 'The answer to the VERSION of QEMU has at most 214 bytes, header included, which is the size of its buffer.',
    reference: '§4.1, §5.1',
    destructive: false,
    async run(context) {
      const { payload } = await propose(context, 'VERSION', PROPOSALS.qemu)
      const size = wire.VfioUserHeader.size + payload.length
      expect(size <= wire.QEMU_MAX_VERSION_REPLY, '214 bytes at most', size)
    },
  },
  {
    id: 'version.reply-capabilities',
    rule: 'The capabilities that the server names are of the right type and in the range that QEMU accepts.',
    reference: '§5',
    destructive: false,
    async run(context) {
      const { payload } = await propose(context, 'VERSION', PROPOSALS.qemu)
      for (const [key, value] of Object.entries(capabilitiesOf(payload.subarray(4)))) {
        const known = KNOWN_KEYS[key]
        if (known === undefined) continue
        expect(known.valid(value), `${key}: ${known.expected}`, JSON.stringify(value))
      }
    },
  },
  {
    id: 'version.reply-transfer-size',
    rule: 'The max_data_xfer_size of the server has room for the whole configuration space, which QEMU reads in one go.',
    reference: '§5',
    destructive: false,
    async run({ survey }) {
      const { max_data_xfer_size: most = 1_048_576 } = survey.capabilities
      const { size = 0 } = survey.regions[7] ?? {}
      expect(Number(most) >= size, `${size} or more`, Number(most))
    },
  },
  {
    id: 'version.reply-unasked',
    rule: 'A client that proposes nothing is offered neither fds, a twin socket, REGION_WRITE_MULTI nor sparse_mmap_fds.',
    reference: '§5, §5.2',
    destructive: false,
    async run(context) {
      for (const proposal of [version(), version(EMPTY)]) {
        const { payload } = await propose(context, 'VERSION without capabilities', proposal)
        const answer = capabilitiesOf(payload.subarray(4))
        for (const key of ['twin_socket', 'write_multiple', 'sparse_mmap_fds']) {
          const value = answer[key] ?? false
          expect(value === false, `no ${key}`, JSON.stringify(value))
        }
      }
    },
  },
  accepts('version.clients', 'What known clients propose is accepted.', '§5.1', PROPOSALS),
  accepts('version.no-json', 'VERSION without JSON is accepted and means all defaults.', '§5', {
    '4 bytes of payload': version(),
  }),
  accepts(
    'version.empty',
    'JSON without capabilities is accepted and means all defaults.',
    '§5',
    each((json) => `VERSION ${json}`, ['{}', EMPTY]),
  ),
  accepts(
    'version.unknown-keys',
    'Unknown keys are ignored, in and beside the capabilities.',
    '§5',
    {
      'an unknown capability': capability('mdevkit_unknown', { any: ['thing', 1, null] }),
      'an unknown key beside the capabilities': version('{"x":[1],"capabilities":{}}'),
    },
  ),
  accepts(
    'version.large-values',
    'Capabilities beyond what the server has are accepted.',
    '§5, §5.1',
    {
      'max_msg_fds 1024': capability('max_msg_fds', 1024),
      'all page sizes': version('{"capabilities":{"pgsizes":18446744073709547520}}'),
      'a transfer size of 64 MiB': capability('max_data_xfer_size', 67_108_864),
    },
  ),
  refuses(
    'version.short',
    'A payload of less than 4 bytes is refused: EINVAL and the end of the connection, or its end at once.',
    '§5.1, §19',
    Object.fromEntries(
      [0, 1, 2, 3].map((length) => [`${length} bytes of payload`, Buffer.alloc(length)]),
    ),
  ),
  refuses(
    'version.nul',
    'JSON that has no NUL at its end, or one before it, is refused: EINVAL and the end of the connection, or its end at once.',
    '§5, §19',
    {
      'no NUL': Buffer.concat([version(), Buffer.from(EMPTY)]),
      'a NUL inside': version('{"capa\0bilities":{}}'),
      'two NULs': version(`${EMPTY}\0`),
      'bytes after the NUL': Buffer.concat([version(EMPTY), Buffer.from(' ')]),
    },
  ),
  refuses(
    'version.json',
    'What is no JSON object is refused: EINVAL and the end of the connection, or its end at once.',
    '§5.1, §19',
    {
      'a NUL alone': version(''),
      ...each(
        (json) => `JSON ${json}`,
        ['{"capabilities":{}', `${EMPTY}x`, '[]', '[{"capabilities":{}}]', '"text"', '5', 'null'],
      ),
    },
  ),
  refuses(
    'version.utf-8',
    'JSON that is not in UTF-8 is refused: EINVAL and the end of the connection, or its end at once.',
    '§5, §19',
    {
      'invalid UTF-8': Buffer.concat([version(), Buffer.from('{"\xff\xfe":1}\0', 'latin1')]),
    },
  ),
  refuses(
    'version.capabilities',
    'Capabilities that are no object are refused: EINVAL and the end of the connection, or its end at once.',
    '§5.1, §19',
    each(
      (json) => json,
      ['[]', '5', '"x"', 'true'].map((value) => `{"capabilities":${value}}`),
    ),
  ),
  refuses(
    'version.types',
    'A known capability of a wrong type is refused: EINVAL and the end of the connection, or its end at once.',
    '§5, §5.1, §19',
    {
      'max_msg_fds -1': capability('max_msg_fds', -1),
      'max_msg_fds "8"': capability('max_msg_fds', '8'),
      'max_data_xfer_size {}': capability('max_data_xfer_size', {}),
    },
  ),
  refuses(
    'version.long',
    'JSON of 64 KiB is refused: EINVAL and the end of the connection, or its end at once.',
    '§5, §19',
    { '64 KiB of JSON': version(`{"capabilities":{},"x":"${'y'.repeat(LONG_JSON)}"}`) },
  ),
  refuses(
    'version.major',
    'Another major version is refused: EINVAL and the end of the connection, or its end at once.',
    '§5',
    Object.fromEntries(
      [1, 2, 0xffff].map((major) => [`VERSION ${major}.0`, version(EMPTY, { major })]),
    ),
  ),
  {
    id: 'version.twice',
    rule: 'A second VERSION is refused with EINVAL, whatever it says, and the connection lives on.',
    reference: '§5',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [what, payload] of [
        ['the same VERSION again', PROPOSALS.qemu],
        ['a second VERSION with another major', u16(1, 0)],
      ] as const) {
        expectRefused(await connection.request(VERSION, payload), what)
        await connection.expectAlive(what)
      }
    },
  },
  {
    id: 'version.twin-socket',
    rule: 'A twin socket that is asked for is either not offered, or is the socket at fd_index of the fds of the answer.',
    reference: '§5.2',
    destructive: false,
    async run(context) {
      const connection = await context.connect()
      const frame = await connection.request(VERSION, TWIN)
      expectSuccess(frame, 'VERSION with twin_socket')
      const fd = twinOf(frame)
      if (fd === undefined)
        expect(frame.fds.length === 0, 'no fds without a twin', frame.fds.length)
      else expect(fstatSync(fd).isSocket(), 'a twin that is a socket', 'some other file')
      await connection.expectAlive('VERSION with twin_socket')
    },
  },
  {
    id: 'version.twin-unwanted',
    rule: 'A client that says that it wants no twin socket is offered none.',
    reference: '§5.2',
    destructive: false,
    async run(context) {
      for (const [what, value] of [
        ['twin_socket that is not supported', { supported: false }],
        ['an empty twin_socket', {}],
      ] as const) {
        const frame = await propose(context, what, capability('twin_socket', value))
        expect(twinOf(frame) === undefined, `${what}: no twin socket`, 'a twin socket')
      }
    },
  },
  {
    id: 'version.twin-end',
    rule: 'The twin socket ends when the connection has ended.',
    reference: '§5.2',
    destructive: false,
    async run(context) {
      const connection = await context.connect()
      const fd = twinOf(await connection.request(VERSION, TWIN))
      if (fd === undefined) throw new Skip('the server offers no twin socket')
      const twin = context.connectionOver(connection.release(fd))
      await connection.finish()
      await twin.expectEnd('the end of the twin socket after that of the connection')
    },
  },
]

const TWIN = capability('twin_socket', { supported: true })

/** The twin socket that an answer to VERSION brings. */
function twinOf({ payload, fds }: Frame): number | undefined {
  const { twin_socket: twin } = capabilitiesOf(payload.subarray(4))
  if (!isObject(twin) || twin['supported'] !== true) return undefined
  const { fd_index: index } = twin
  const fd = typeof index === 'number' ? fds[index] : undefined
  if (fd === undefined)
    throw new Violation(`fd_index below ${fds.length}, the count of fds`, JSON.stringify(index))
  return fd
}
