/** REGION_READ and REGION_WRITE. Reads are of configuration space, where they have no effect, unless a check says more. */
import * as wire from '../../../abi/vfio-user.ts'
import * as vfio from '../../../abi/vfio.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  expectSuccessOr,
  NO_REPLY,
  refusal,
  type WrongRequest,
} from '../check.ts'
import { describeFrame, isError, type RawConnection } from '../raw-connection.ts'
import { access, deviceInfo, message } from '../requests.ts'
import { scratchByte } from '../scratch-byte.ts'
import { absentRegion, configOf, maxTransfer, type Survey } from '../survey.ts'
import { Skip, Violation } from '../violation.ts'

const {
  VFIO_USER_REGION_READ: REGION_READ,
  VFIO_USER_REGION_WRITE: REGION_WRITE,
  VFIO_USER_DEVICE_GET_INFO: GET_INFO,
} = wire
const FIXED = wire.VfioUserRegionAccess.size
const BARS = 6
const ROUNDS = 50

/** Reads configuration space. */
async function read(
  connection: RawConnection,
  survey: Survey,
  offset: number,
  count: number,
): Promise<Buffer> {
  const request = access(configOf(survey).region, offset, count)
  const what = `a read of ${count} bytes of configuration space at ${offset}`
  const frame = await connection.request(REGION_READ, request)
  expectSuccess(frame, what)
  const { length } = frame.payload
  expect(length === FIXED + count, `${what}: ${FIXED + count} bytes of answer`, length)
  return frame.payload.subarray(FIXED)
}

/** Ranges that are not inside a region of `size` bytes. */
function outside(size: number): readonly (readonly [bigint, number])[] {
  return [
    [BigInt(size), 1],
    [BigInt(size) - 1n, 2],
    [BigInt(size) - 4n, 8],
    [0n, size + 1],
    [BigInt(size) + 4096n, 4],
    [0xffff_ffffn, 4],
    [0x1_0000_0000n, 4],
  ]
}

/** Ranges whose end is beyond 2^64. */
const WRAPPING = [
  [0xffff_ffff_ffff_ffffn, 1],
  [0xffff_ffff_ffff_fffcn, 4],
  [0xffff_ffff_ffff_ffffn, 2],
  [0xffff_ffff_ffff_fffcn, 8],
] as const

function wrongRanges(
  verb: 'read' | 'write',
  region: number,
  ranges: readonly (readonly [bigint, number])[],
): WrongRequest[] {
  return ranges.map(([offset, count]) => [
    `a ${verb} of ${count} bytes at 0x${offset.toString(16)}`,
    access(region, offset, count, Buffer.alloc(verb === 'write' ? count : 0)),
  ])
}

/** Of a region that is not below the number of regions. */
function wrongRegions(verb: 'read' | 'write', { regions }: Survey): WrongRequest[] {
  return [regions.length, 0x7fff_ffff, 0xffff_ffff].map((region) => [
    `a ${verb} of region ${region} of ${regions.length}`,
    access(region, 0, 4, Buffer.alloc(verb === 'write' ? 4 : 0)),
  ])
}

/** @throws Skip every region that is there has the flag */
function regionWithout(survey: Survey, flag: number, what: string): number {
  const region = survey.regions.find(({ size, flags }) => size > 0 && (flags & flag) === 0)
  if (region === undefined) throw new Skip(`every region can be ${what}`)
  return region.index
}

/** Accesses of nothing: the text has no word on whether the answer has its 16 bytes. */
async function expectNothing(context: Context, command: number, what: string): Promise<void> {
  const { region } = configOf(context.survey)
  const connection = await context.attach()
  const frame = await connection.request(command, access(region, 0, 0))
  expectSuccess(frame, what)
  const { length } = frame.payload
  expect(length === 0 || length === FIXED, `${what}: 0 or ${FIXED} bytes of answer`, length)
  await connection.expectAlive(what)
}

export const ACCESS_CHECKS: readonly Check[] = [
  {
    id: 'access.read-reply',
    rule: 'REGION_READ is answered with the 16 bytes of the request and as many bytes as were asked for.',
    reference: '§4.1, §11.1',
    destructive: false,
    async run(context) {
      const { region, size } = configOf(context.survey)
      const connection = await context.attach()
      for (const count of [1, 2, 4, 8, 16, 64, size]) {
        const request = access(region, 0, count)
        const { payload } = await connection.request(REGION_READ, request)
        const what = `a read of ${count} bytes`
        expect(payload.length === FIXED + count, `${what}: ${FIXED + count}`, payload.length)
        const echo = payload.subarray(0, FIXED).toString('hex')
        expect(echo === request.toString('hex'), `${what}: ${request.toString('hex')}`, echo)
      }
    },
  },
  {
    id: 'access.read-widths',
    rule: 'Reads of any width and alignment give the bytes that one read of the whole gives.',
    reference: '§11.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const whole = await read(connection, context.survey, 0, 64)
      for (const width of [1, 2, 3, 4, 7, 8, 16]) {
        for (let offset = 0; offset + width <= 64; offset += width) {
          const part = await read(connection, context.survey, offset, width)
          const expected = whole.subarray(offset, offset + width).toString('hex')
          const what = `${width} bytes at ${offset}: ${expected}`
          expect(part.toString('hex') === expected, what, part.toString('hex'))
        }
      }
    },
  },
  {
    id: 'access.read-last',
    rule: 'The last byte of a region can be read, and nothing after it.',
    reference: '§11.1, §19',
    destructive: false,
    async run(context) {
      const { region, size } = configOf(context.survey)
      const connection = await context.attach()
      await read(connection, context.survey, size - 1, 1)
      const frame = await connection.request(REGION_READ, access(region, size, 1))
      expectRefused(frame, `a read of 1 byte at ${size}, the end`)
    },
  },
  {
    id: 'access.read-nothing',
    rule: 'A read of 0 bytes succeeds, with or without the 16 bytes of its request.',
    reference: '§11.1',
    destructive: false,
    run: async (context) => expectNothing(context, REGION_READ, 'a read of 0 bytes'),
  },
  {
    id: 'access.read-trailing',
    rule: 'Bytes after a REGION_READ are ignored, or refused with EINVAL.',
    reference: '§11.1, §19',
    destructive: false,
    async run(context) {
      const { region } = configOf(context.survey)
      const connection = await context.attach()
      const request = access(region, 0, 4, Buffer.alloc(8))
      expectSuccessOr(await connection.request(REGION_READ, request), 'a read with 8 more bytes')
      await connection.expectAlive('a read with 8 more bytes')
    },
  },
  {
    id: 'access.read-bars',
    rule: 'The start of each BAR can be read by 1, 2, 4 and 8 bytes: with as many bytes, or the error of the device.',
    reference: '§11.1, §18',
    destructive: true,
    async run(context) {
      const readable = context.survey.regions.filter(
        ({ index, size, flags }) =>
          index < BARS && size > 0 && (flags & vfio.VFIO_REGION_INFO_FLAG_READ) !== 0,
      )
      if (readable.length === 0) throw new Skip('it has no BAR that can be read')
      const connection = await context.attach()
      for (const { index, size } of readable) {
        for (const count of [1, 2, 4, 8].filter((width) => width <= size)) {
          const frame = await connection.request(REGION_READ, access(index, 0, count))
          if (isError(frame)) continue
          const what = `${count} bytes of BAR ${index}: ${FIXED + count} bytes of answer`
          expect(frame.payload.length === FIXED + count, what, frame.payload.length)
        }
        await connection.expectAlive(`reads of BAR ${index}`)
      }
    },
  },
  refusal({
    id: 'access.read-short',
    rule: 'A REGION_READ with a payload of less than 16 bytes is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_READ,
    requests: (survey) => {
      const { region } = configOf(survey)
      return [1, 8, 15].map((length) => [
        `${length} bytes`,
        access(region, 0, 4).subarray(0, length),
      ])
    },
  }),
  refusal({
    id: 'access.read-outside',
    rule: 'A read that ends beyond its region is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_READ,
    requests: (survey) => {
      const { region, size } = configOf(survey)
      return wrongRanges('read', region, outside(size))
    },
  }),
  refusal({
    id: 'access.read-wrapping',
    rule: 'A read whose end wraps around 2^64 is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_READ,
    requests: (survey) => wrongRanges('read', configOf(survey).region, WRAPPING),
  }),
  refusal({
    id: 'access.read-region',
    rule: 'A read of a region whose index is not below the number of regions is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_READ,
    requests: (survey) => wrongRegions('read', survey),
  }),
  refusal({
    id: 'access.read-absent',
    rule: 'A read of a region of size 0 is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_READ,
    requests: (survey) => {
      const { index } = absentRegion(survey)
      return [[`region ${index}`, access(index, 0, 1)]]
    },
  }),
  refusal({
    id: 'access.read-unreadable',
    rule: 'A read of a region without the read flag is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_READ,
    destructive: true,
    requests: (survey) => {
      const region = regionWithout(survey, vfio.VFIO_REGION_INFO_FLAG_READ, 'read')
      return [[`region ${region}`, access(region, 0, 1)]]
    },
  }),
  refusal({
    id: 'access.read-long',
    rule: 'A read of more than max_data_xfer_size bytes is refused with EINVAL.',
    reference: '§5, §11.1, §19',
    command: REGION_READ,
    requests: (survey) => {
      const { region } = configOf(survey)
      return [maxTransfer(survey) + 1, 0x7fff_ffff, 0xffff_ffff].map((count) => [
        `${count} bytes`,
        access(region, 0, count),
      ])
    },
  }),
  {
    id: 'access.write-reply',
    rule: 'REGION_WRITE is answered with the 16 bytes of its request.',
    reference: '§4.1, §11.1',
    destructive: true,
    async run(context) {
      const { region } = configOf(context.survey)
      const connection = await context.attach()
      const [scratch = 0] = await read(connection, context.survey, scratchByte.offset, 1)
      const request = access(region, scratchByte.offset, 1, Buffer.of(scratch))
      const frame = await connection.request(REGION_WRITE, request)
      expectSuccess(frame, 'REGION_WRITE', FIXED)
      const [echo, expected] = [frame.payload, request.subarray(0, FIXED)]
      expect(echo.equals(expected), expected.toString('hex'), echo.toString('hex'))
    },
  },
  {
    id: 'access.write-nothing',
    rule: 'A write of 0 bytes succeeds, with or without the 16 bytes of its request.',
    reference: '§11.1',
    destructive: true,
    run: async (context) => expectNothing(context, REGION_WRITE, 'a write of 0 bytes'),
  },
  refusal({
    id: 'access.write-length',
    rule: 'A REGION_WRITE whose payload is not 16 bytes and those that it counts is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_WRITE,
    destructive: true,
    requests: (survey) => {
      const { region } = configOf(survey)
      const { offset } = scratchByte
      return [
        ['8 bytes of payload', access(region, offset, 1).subarray(0, 8)],
        ['no data for 1 byte', access(region, offset, 1)],
        ['3 bytes for 4', access(region, offset, 4, Buffer.alloc(3))],
        ['2 bytes for 1', access(region, offset, 1, Buffer.alloc(2))],
        ['4 bytes for 0', access(region, offset, 0, Buffer.alloc(4))],
        ['1 byte for 2^32 - 1', access(region, offset, 0xffff_ffff, Buffer.alloc(1))],
      ]
    },
  }),
  refusal({
    id: 'access.write-outside',
    rule: 'A write that ends beyond its region is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_WRITE,
    destructive: true,
    requests: (survey) => {
      const { region, size } = configOf(survey)
      return wrongRanges('write', region, outside(size))
    },
  }),
  refusal({
    id: 'access.write-wrapping',
    rule: 'A write whose end wraps around 2^64 is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_WRITE,
    destructive: true,
    requests: (survey) => wrongRanges('write', configOf(survey).region, WRAPPING),
  }),
  refusal({
    id: 'access.write-region',
    rule: 'A write of a region whose index is not below the number of regions is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_WRITE,
    requests: (survey) => wrongRegions('write', survey),
  }),
  refusal({
    id: 'access.write-absent',
    rule: 'A write of a region of size 0 is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_WRITE,
    requests: (survey) => {
      const { index } = absentRegion(survey)
      return [[`region ${index}`, access(index, 0, 1, Buffer.alloc(1))]]
    },
  }),
  refusal({
    id: 'access.write-unwritable',
    rule: 'A write of a region without the write flag is refused with EINVAL.',
    reference: '§11.1, §19',
    command: REGION_WRITE,
    destructive: true,
    requests: (survey) => {
      const region = regionWithout(survey, vfio.VFIO_REGION_INFO_FLAG_WRITE, 'written')
      return [[`region ${region}`, access(region, 0, 1, Buffer.alloc(1))]]
    },
  }),
  {
    id: 'access.posted',
    rule: 'A write with No_reply is not answered.',
    reference: '§3, §11.1, §18',
    destructive: true,
    async run(context) {
      const { region } = configOf(context.survey)
      const connection = await context.attach()
      const [scratch = 0] = await read(connection, context.survey, scratchByte.offset, 1)
      const payload = access(region, scratchByte.offset, 1, Buffer.of(scratch))
      for (let i = 0; i < 3; i++) {
        await connection.command(REGION_WRITE, payload, { flags: NO_REPLY })
        const frame = await connection.request(GET_INFO, deviceInfo())
        if (frame.command !== GET_INFO) {
          throw new Violation('the answer to DEVICE_GET_INFO alone', describeFrame(frame))
        }
      }
    },
  },
  {
    id: 'access.posted-refused',
    rule: 'A write with No_reply that is wrong is not answered either, and the connection lives on.',
    reference: '§3, §19',
    destructive: true,
    async run(context) {
      const { region, size } = configOf(context.survey)
      const connection = await context.attach()
      for (const [what, payload] of [
        ['a posted write outside its region', access(region, size, 1, Buffer.alloc(1))],
        ['a posted write without its data', access(region, scratchByte.offset, 1)],
        ['a posted write of no region', access(0xffff, 0, 1, Buffer.alloc(1))],
      ] as const) {
        await connection.command(REGION_WRITE, payload, { flags: NO_REPLY })
        const frame = await connection.request(GET_INFO, deviceInfo())
        const silent = frame.command === GET_INFO
        expect(silent, `after ${what}: the answer to DEVICE_GET_INFO alone`, describeFrame(frame))
      }
    },
  },
  {
    id: 'access.posted-order',
    rule: 'A write with No_reply is done before the reply to a later read, which sees what was written.',
    reference: '§2',
    destructive: true,
    async run(context) {
      const { region } = configOf(context.survey)
      const { offset } = scratchByte
      const connection = await context.attach()
      const before = await scratchByte.find(connection, context.survey)
      const values = Array.from({ length: ROUNDS }, (_, i) => (before + i + 1) & 0xff)
      await connection.send(
        Buffer.concat(
          values.flatMap((value) => [
            message(REGION_WRITE, access(region, offset, 1, Buffer.of(value)), { flags: NO_REPLY }),
            message(REGION_READ, access(region, offset, 1)),
          ]),
        ),
      )
      for (const value of values) {
        const what = `a read after a posted write of ${value}`
        const frame = await connection.next(what)
        expectSuccess(frame, what, FIXED + 1)
        expect(frame.payload[FIXED] === value, `${what}: ${value}`, frame.payload[FIXED] ?? 'none')
      }
      await scratchByte.write(connection, context.survey, before)
    },
  },
]
