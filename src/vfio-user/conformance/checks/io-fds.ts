/** DEVICE_GET_REGION_IO_FDS, which a server may not have. */
import * as wire from '../../../abi/vfio-user.ts'
import { type Check, expect, expectRefused, refusal } from '../check.ts'
import { isError } from '../raw-connection.ts'
import { ioFds } from '../requests.ts'
import { Skip } from '../violation.ts'

const { VFIO_USER_DEVICE_GET_REGION_IO_FDS: GET_REGION_IO_FDS } = wire
const FIXED = 16
const MAX_ARGSZ = 2 ** 20
/** An entry as the text has it, and as libvfio-user has it. */
const STRIDES = [40, 48]
/** A server that does not have the command may say so. */
const REFUSALS = ['EINVAL', 'ENOSYS', 'EOPNOTSUPP'] as const

export const IO_FD_CHECKS: readonly Check[] = [
  {
    id: 'io-fds.reply',
    rule: 'DEVICE_GET_REGION_IO_FDS is answered with its 16 bytes and the entries that they count, or refused with EINVAL, ENOSYS or EOPNOTSUPP.',
    reference: '§9',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index, size } of context.survey.regions) {
        if (size === 0) continue
        const what = `region ${index}`
        const frame = await connection.request(GET_REGION_IO_FDS, ioFds(index, { argsz: 65_536 }))
        if (isError(frame)) {
          expectRefused(frame, what, REFUSALS)
          continue
        }
        const { payload, fds } = frame
        expect(payload.length >= FIXED, `${what}: 16 bytes or more`, payload.length)
        const [argsz, count] = [payload.readUInt32LE(0), payload.readUInt32LE(12)]
        expect(payload.readUInt32LE(8) === index, `${what}: its index`, payload.readUInt32LE(8))
        const sizes = STRIDES.map((stride) => FIXED + stride * count)
        expect(sizes.includes(payload.length), `${what}: ${count} entries`, payload.length)
        expect(argsz === payload.length, `${what}: argsz ${payload.length}`, argsz)
        const stride = count === 0 ? 0 : (payload.length - FIXED) / count
        for (let i = 0; i < count; i++) {
          const fdIndex = payload.readUInt32LE(FIXED + i * stride + 16)
          expect(fdIndex < fds.length, `${what}: fd_index below ${fds.length}`, fdIndex)
        }
      }
    },
  },
  {
    id: 'io-fds.short-answer',
    rule: 'When argsz has no room for the entries, the answer is 16 bytes with the argsz needed and the count, and no fds.',
    reference: '§9',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      let found = false
      for (const { index, size } of context.survey.regions) {
        if (size === 0) continue
        const frame = await connection.request(GET_REGION_IO_FDS, ioFds(index))
        if (isError(frame) || frame.payload.readUInt32LE(12) === 0) continue
        found = true
        const { payload, fds } = frame
        expect(payload.length === FIXED, `region ${index}: 16 bytes`, payload.length)
        expect(payload.readUInt32LE(0) > FIXED, 'the argsz needed', payload.readUInt32LE(0))
        expect(fds.length === 0, `region ${index}: no fds`, fds.length)
      }
      if (!found) throw new Skip('no region has I/O fds')
    },
  },
  refusal({
    id: 'io-fds.bad',
    rule: 'A wrong argsz, flags, count or index, a region that is not there and a short payload are refused with EINVAL, ENOSYS or EOPNOTSUPP.',
    reference: '§9, §19',
    command: GET_REGION_IO_FDS,
    errnos: REFUSALS,
    requests: ({ regions }) => {
      const present = regions.find(({ size }) => size > 0)?.index ?? 0
      const absent = regions.find(({ size, flags }) => size === 0 && flags === 0)
      return [
        ['15 bytes', ioFds(present).subarray(0, 15)],
        ['argsz 0', ioFds(present, { argsz: 0 })],
        ['argsz 15', ioFds(present, { argsz: 15 })],
        [`argsz ${MAX_ARGSZ + 1}`, ioFds(present, { argsz: MAX_ARGSZ + 1 })],
        ['flags 1', ioFds(present, { flags: 1 })],
        ['count 1', ioFds(present, { count: 1 })],
        [`index ${regions.length}`, ioFds(regions.length)],
        ['index 0xffffffff', ioFds(0xffff_ffff)],
        ...(absent === undefined
          ? []
          : ([[`region ${absent.index}, which is not there`, ioFds(absent.index)]] as const)),
      ]
    },
  }),
]
