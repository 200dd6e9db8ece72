/** DEVICE_FEATURE, which a server may not have, and the features that are not migration: the log of dirty pages. */
import * as wire from '../../../abi/vfio-user.ts'
import * as vfio from '../../../abi/vfio.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  oneOf,
  refusal,
} from '../check.ts'
import {
  DMA_LOGGING_REPORT,
  DMA_LOGGING_START,
  DMA_LOGGING_STOP,
  FEATURE_REFUSALS,
  isOffered,
  MIG_DEVICE_STATE,
  MIGRATION,
} from '../device-feature.ts'
import { memory } from '../files.ts'
import { isError, type RawConnection } from '../raw-connection.ts'
import { dmaMap, feature, IOVA, PAGE, u32, u64 } from '../requests.ts'
import { Skip } from '../violation.ts'

const { VFIO_USER_DEVICE_FEATURE: DEVICE_FEATURE } = wire
const {
  VFIO_DEVICE_FEATURE_GET: GET,
  VFIO_DEVICE_FEATURE_SET: SET,
  VFIO_DEVICE_FEATURE_PROBE: PROBE,
} = vfio
const FIXED = vfio.VfioDeviceFeature.size
const REFUSED = `refused with ${oneOf(FEATURE_REFUSALS)}`
/** Nothing is mapped either. */
const REPORT_REFUSALS = [...FEATURE_REFUSALS, 'ENOENT'] as const
const PAGES = 100
/** A feature that nobody has. */
const UNKNOWN = 0x7777

/** DMA_LOGGING_START of `ranges`: page size, their count, each of them. */
function loggingStart(pageSize: number, ranges: readonly (readonly [number, number])[]): Buffer {
  return Buffer.concat([
    u64(pageSize),
    u32(ranges.length, 0),
    ...ranges.map((range) => u64(...range)),
  ])
}

/** Attaches to a server that keeps a log, with 100 pages mapped. @throws Skip it keeps none */
async function attachLogging(context: Context): Promise<RawConnection> {
  const connection = await context.attach()
  if (!(await isOffered(connection, DMA_LOGGING_START | SET)))
    throw new Skip('it keeps no log of dirty pages')
  const request = dmaMap({ size: PAGES * PAGE })
  const fds = [memory(context, PAGES * PAGE)] // what has no fd need not be logged
  expectSuccess(await connection.request(wire.VFIO_USER_DMA_MAP, request, { fds }), 'DMA_MAP')
  return connection
}

export const FEATURE_CHECKS: readonly Check[] = [
  refusal({
    id: 'features.short',
    rule: `A payload of less than 8 bytes is ${REFUSED}.`,
    reference: '§14.1, §19',
    command: DEVICE_FEATURE,
    errnos: FEATURE_REFUSALS,
    requests: () => [0, 4, 7].map((length) => [`${length} bytes`, Buffer.alloc(length, 8)]),
  }),
  refusal({
    id: 'features.unknown',
    rule: `A feature that nobody has is ${REFUSED}, whatever is to be done with it.`,
    reference: '§14.1, §19',
    command: DEVICE_FEATURE,
    errnos: FEATURE_REFUSALS,
    requests: () =>
      [GET, SET, PROBE, PROBE | GET, PROBE | SET].map((action) => [
        `feature 0x7777, flags 0x${action.toString(16)}`,
        feature(UNKNOWN | action, Buffer.alloc(8)),
      ]),
  }),
  refusal({
    id: 'features.actions',
    rule: `Neither GET, SET nor PROBE, GET and SET without PROBE, and unknown flags are ${REFUSED}.`,
    reference: '§14.1, §19',
    command: DEVICE_FEATURE,
    errnos: FEATURE_REFUSALS,
    requests: () =>
      [
        MIGRATION,
        MIGRATION | GET | SET,
        MIGRATION | GET | 0x8_0000,
        (MIGRATION | GET | 0x8000_0000) >>> 0,
      ].map((flags) => [`flags 0x${flags.toString(16)}`, feature(flags, Buffer.alloc(8))]),
  }),
  refusal({
    id: 'features.small-argsz',
    rule: `An argsz with no room for the header, or for the data, is ${REFUSED}.`,
    reference: '§14.1, §19',
    command: DEVICE_FEATURE,
    errnos: FEATURE_REFUSALS,
    requests: () =>
      [0, 7, 8, 15].map((argsz) => [
        `GET of MIGRATION with argsz ${argsz}`,
        feature(MIGRATION | GET, Buffer.alloc(8), argsz),
      ]),
  }),
  {
    id: 'features.probe',
    rule: `PROBE is answered with the 8 bytes of its request and no data, or ${REFUSED}.`,
    reference: '§14.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const flags of [
        MIGRATION | GET,
        MIG_DEVICE_STATE | GET,
        MIG_DEVICE_STATE | SET,
        DMA_LOGGING_START | SET,
        DMA_LOGGING_STOP | SET,
        DMA_LOGGING_REPORT | GET,
      ]) {
        const request = feature(flags | PROBE)
        const frame = await connection.request(DEVICE_FEATURE, request)
        const what = `PROBE, flags 0x${(flags | PROBE).toString(16)}`
        if (isError(frame)) {
          expectRefused(frame, what, FEATURE_REFUSALS)
          continue
        }
        const { length } = frame.payload
        expect(length === FIXED, `${what}: ${FIXED} bytes`, length)
        const answered = frame.payload.readUInt32LE(4)
        expect(answered === (flags | PROBE), `${what} repeated`, `0x${answered.toString(16)}`)
      }
    },
  },
  {
    id: 'features.log-off',
    rule: `A report of dirty pages while nothing is logged is refused with ${oneOf(REPORT_REFUSALS)}.`,
    reference: '§14.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const request = feature(DMA_LOGGING_REPORT | GET, u64(IOVA, PAGE, PAGE), FIXED + 32)
      const frame = await connection.request(DEVICE_FEATURE, request)
      expectRefused(frame, 'DMA_LOGGING_REPORT', REPORT_REFUSALS)
      await connection.expectAlive('DMA_LOGGING_REPORT')
    },
  },
  {
    id: 'features.log',
    rule: 'A log of dirty pages can be started, reported and stopped; a report has 24 bytes and a bitmap of whole u64 words, 0 beyond the range.',
    reference: '§14.1',
    destructive: true,
    async run(context) {
      const connection = await attachLogging(context)
      const start = loggingStart(PAGE, [[IOVA, PAGES * PAGE]])
      const started = await connection.request(
        DEVICE_FEATURE,
        feature(DMA_LOGGING_START | SET, start),
      )
      expectSuccess(started, 'DMA_LOGGING_START', FIXED + start.length)
      const bitmap = Math.ceil(PAGES / 64) * 8
      const range = u64(IOVA, PAGES * PAGE, PAGE)
      const report = feature(DMA_LOGGING_REPORT | GET, range, FIXED + range.length + bitmap)
      for (let i = 0; i < 2; i++) {
        const frame = await connection.request(DEVICE_FEATURE, report)
        expectSuccess(frame, `report ${i + 1}`, FIXED + range.length + bitmap)
        const words = frame.payload.subarray(FIXED + range.length)
        const beyond = words.readBigUInt64LE(8) >> BigInt(PAGES - 64)
        expect(beyond === 0n, `bits from ${PAGES} on to be 0`, `0x${beyond.toString(16)}`)
      }
      const stop = feature(DMA_LOGGING_STOP | SET)
      expectSuccess(await connection.request(DEVICE_FEATURE, stop), 'DMA_LOGGING_STOP')
      const late = await connection.request(DEVICE_FEATURE, report)
      expectRefused(late, 'a report after the log was stopped', FEATURE_REFUSALS)
    },
  },
  {
    id: 'features.log-bad',
    rule: `A log with a page size that is no power of two, or with ranges that are not in the payload, is ${REFUSED}.`,
    reference: '§14.1, §19',
    destructive: true,
    async run(context) {
      const connection = await attachLogging(context)
      const range = [IOVA, PAGE] as const
      for (const [what, data] of [
        ['a page size of 3', loggingStart(3, [range])],
        ['2 ranges of which 1 is there', Buffer.concat([u64(PAGE), u32(2, 0), u64(...range)])],
        ['2^32 - 1 ranges', Buffer.concat([u64(PAGE), u32(0xffff_ffff, 0), u64(...range)])],
      ] as const) {
        const request = feature(DMA_LOGGING_START | SET, data)
        const frame = await connection.request(DEVICE_FEATURE, request)
        expectRefused(frame, what, FEATURE_REFUSALS)
        await connection.expectAlive(what)
      }
    },
  },
]
