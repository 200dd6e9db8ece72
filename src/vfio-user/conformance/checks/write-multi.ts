/** REGION_WRITE_MULTI, which a server may not have. */
import * as wire from '../../../abi/vfio-user.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  NO_REPLY,
  oneOf,
} from '../check.ts'
import { describeFrame, isError } from '../raw-connection.ts'
import { version, type WriteEntry, writeMulti, deviceInfo } from '../requests.ts'
import { scratchByte } from '../scratch-byte.ts'
import { configOf, type Survey } from '../survey.ts'
import { Skip, Violation } from '../violation.ts'

const { VFIO_USER_REGION_WRITE_MULTI: WRITE_MULTI, VFIO_USER_DEVICE_GET_INFO: GET_INFO } = wire
const REFUSALS = ['EINVAL', 'ENOSYS', 'EOPNOTSUPP'] as const

/** @throws Skip the server does not offer it */
function needed({ capabilities }: Survey): void {
  if (capabilities['write_multiple'] !== true) throw new Skip('it does not offer write_multiple')
}

function entry(survey: Survey, value: number, count = 1): WriteEntry {
  return { region: configOf(survey).region, offset: scratchByte.offset, count, value }
}

/** Sends wrong requests, in which the byte is given the value 0x5a. */
async function expectRefusals(
  context: Context,
  requests: (survey: Survey) => readonly (readonly [string, Uint8Array])[],
): Promise<void> {
  needed(context.survey)
  const connection = await context.attach()
  for (const [what, payload] of requests(context.survey)) {
    expectRefused(await connection.request(WRITE_MULTI, payload), what)
    await connection.expectAlive(what)
  }
}

export const WRITE_MULTI_CHECKS: readonly Check[] = [
  {
    id: 'write-multi.not-negotiated',
    rule: `REGION_WRITE_MULTI that was not negotiated is refused with ${oneOf(REFUSALS)}.`,
    reference: '§5, §11.2, §19',
    destructive: true,
    async run(context) {
      const { survey } = context
      const offered = survey.capabilities['write_multiple'] === true
      const proposal = version('{"capabilities":{}}')
      const connection = await (offered ? context.attach(proposal) : context.attach())
      const value = await scratchByte.read(connection, survey)
      const frame = await connection.request(WRITE_MULTI, writeMulti([entry(survey, value)]))
      expectRefused(frame, 'REGION_WRITE_MULTI without write_multiple', REFUSALS)
      await connection.expectAlive('REGION_WRITE_MULTI')
    },
  },
  {
    id: 'write-multi.reply',
    rule: 'REGION_WRITE_MULTI is answered with 8 bytes: the number of writes.',
    reference: '§4, §11.2',
    destructive: true,
    async run(context) {
      const { survey } = context
      needed(survey)
      const connection = await context.attach()
      const value = await scratchByte.read(connection, survey)
      for (const count of [1, 2, 200]) {
        const entries = Array.from({ length: count }, () => entry(survey, value))
        const frame = await connection.request(WRITE_MULTI, writeMulti(entries))
        expectSuccess(frame, `${count} writes`, 8)
        const done = frame.payload.readBigUInt64LE(0)
        expect(done === BigInt(count), `${count} writes done`, done.toString())
      }
    },
  },
  {
    id: 'write-multi.order',
    rule: 'The writes are done in order: the last one of a byte is what it holds.',
    reference: '§11.2',
    destructive: true,
    async run(context) {
      const { survey } = context
      needed(survey)
      const connection = await context.attach()
      const before = await scratchByte.find(connection, survey)
      const entries = Array.from({ length: 100 }, (_, i) => entry(survey, i + 1))
      expectSuccess(await connection.request(WRITE_MULTI, writeMulti(entries)), '100 writes')
      const after = await scratchByte.read(connection, survey)
      await scratchByte.write(connection, survey, before)
      expect(after === 100, 'the byte to hold 100, the last of 1 to 100', after)
    },
  },
  {
    id: 'write-multi.stops',
    rule: 'A wrong write among several is refused with EINVAL, and none after it is done.',
    reference: '§11.2',
    destructive: true,
    async run(context) {
      const { survey } = context
      needed(survey)
      const connection = await context.attach()
      const before = await scratchByte.find(connection, survey)
      const value = before ^ 0xff
      const wrong = { ...entry(survey, 0), region: 0xffff }
      const request = writeMulti([wrong, entry(survey, value)])
      const frame = await connection.request(WRITE_MULTI, request)
      const after = await scratchByte.read(connection, survey)
      await scratchByte.write(connection, survey, before)
      expectRefused(frame, 'a write of no region, then one that is right')
      expect(after === before, `the byte to hold ${before} still`, after)
    },
  },
  {
    id: 'write-multi.posted',
    rule: 'REGION_WRITE_MULTI with No_reply is not answered, be it right or wrong.',
    reference: '§3, §11.2',
    destructive: true,
    async run(context) {
      const { survey } = context
      needed(survey)
      const connection = await context.attach()
      const value = await scratchByte.read(connection, survey)
      for (const [what, payload] of [
        ['a right one', writeMulti([entry(survey, value)])],
        ['a wrong one', writeMulti([{ ...entry(survey, value), region: 0xffff }])],
      ] as const) {
        await connection.command(WRITE_MULTI, payload, { flags: NO_REPLY })
        const frame = await connection.request(GET_INFO, deviceInfo())
        const silent = frame.command === GET_INFO && !isError(frame)
        if (!silent) throw new Violation(`no answer to ${what}`, describeFrame(frame))
      }
    },
  },
  {
    id: 'write-multi.count',
    rule: 'A payload that is not 8 bytes and 24 for each write that it counts is refused with EINVAL.',
    reference: '§11.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, (survey) => {
        const one = entry(survey, 0)
        return [
          ['2 counted, 1 there', writeMulti([one], 2)],
          ['1 counted, 2 there', writeMulti([one, one], 1)],
          ['0 counted, 1 there', writeMulti([one], 0)],
          ['2^32 counted', writeMulti([one], 2 ** 32)],
          ['2^61 counted', writeMulti([one], 2 ** 61)],
          ['half a write', writeMulti([one]).subarray(0, 20)],
          ['4 bytes of payload', writeMulti([one]).subarray(0, 4)],
        ]
      })
    },
  },
  {
    id: 'write-multi.length',
    rule: 'A write of 0 bytes, or of more than 8, is refused with EINVAL.',
    reference: '§11.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, (survey) =>
        [0, 9, 0xffff_ffff].map((count) => [
          `a write of ${count} bytes`,
          writeMulti([entry(survey, 0, count)]),
        ]),
      )
    },
  },
  {
    id: 'write-multi.outside',
    rule: 'A write outside its region, or of none, is refused with EINVAL.',
    reference: '§11.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, (survey) => {
        const { size } = configOf(survey)
        return [
          ['a write at the end', writeMulti([{ ...entry(survey, 0), offset: size }])],
          ['a write across the end', writeMulti([{ ...entry(survey, 0, 8), offset: size - 4 }])],
          [
            'a write whose end wraps',
            writeMulti([{ ...entry(survey, 0, 4), offset: 0xffff_ffff_ffff_fffen }]),
          ],
          ['a write of no region', writeMulti([{ ...entry(survey, 0), region: 0xffff }])],
        ]
      })
    },
  },
]
