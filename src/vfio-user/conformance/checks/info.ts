/** DEVICE_GET_INFO. */
import * as wire from '../../../abi/vfio-user.ts'
import * as vfio from '../../../abi/vfio.ts'
import { type Check, expect, expectSuccess, refusal } from '../check.ts'
import { deviceInfo, u32 } from '../requests.ts'
import { isPci } from '../survey.ts'
import { Skip, Violation } from '../violation.ts'

const { VFIO_USER_DEVICE_GET_INFO: GET_INFO } = wire
const KNOWN_FLAGS = vfio.VFIO_DEVICE_FLAGS_RESET | vfio.VFIO_DEVICE_FLAGS_PCI

export const INFO_CHECKS: readonly Check[] = [
  {
    id: 'info.reply',
    rule: 'DEVICE_GET_INFO is answered with 16 bytes.',
    reference: '§4.1, §7',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      expectSuccess(await connection.request(GET_INFO, deviceInfo()), 'DEVICE_GET_INFO', 16)
    },
  },
  {
    id: 'info.argsz',
    rule: 'The answer to DEVICE_GET_INFO says argsz 16.',
    reference: '§4, §7',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const frame = await connection.request(GET_INFO, deviceInfo())
      expectSuccess(frame, 'DEVICE_GET_INFO', 16)
      expect(frame.payload.readUInt32LE(0) === 16, 'argsz 16', frame.payload.readUInt32LE(0))
    },
  },
  {
    id: 'info.flags',
    rule: 'The flags are of those that are known: RESET and PCI.',
    reference: '§7',
    destructive: false,
    async run({ survey: { flags } }) {
      expect((flags & ~KNOWN_FLAGS) === 0, 'flags 0x0 to 0x3', `flags 0x${flags.toString(16)}`)
    },
  },
  {
    id: 'info.counts',
    rule: 'A PCI device has 8 to 100 regions and 3 to 50 irq indexes, as QEMU has it.',
    reference: '§7',
    destructive: false,
    async run(context) {
      if (!isPci(context.survey)) throw new Skip('it is no PCI device')
      const connection = await context.attach()
      const { payload } = await connection.request(GET_INFO, deviceInfo())
      const [regions, irqs] = [payload.readUInt32LE(8), payload.readUInt32LE(12)]
      expect(regions >= 8 && regions <= 100, '8 to 100 regions', regions)
      expect(irqs >= 3 && irqs <= 50, '3 to 50 irq indexes', irqs)
    },
  },
  {
    id: 'info.stable',
    rule: 'DEVICE_GET_INFO is answered the same each time, on each connection.',
    reference: '§7',
    destructive: false,
    async run(context) {
      const answers: string[] = []
      for (let i = 0; i < 2; i++) {
        const connection = await context.attach()
        for (let j = 0; j < 2; j++) {
          const { payload } = await connection.request(GET_INFO, deviceInfo())
          answers.push(payload.toString('hex'))
        }
        await connection.finish()
      }
      const [first = ''] = answers
      const other = answers.find((answer) => answer !== first)
      if (other !== undefined) throw new Violation(first, other)
    },
  },
  {
    id: 'info.long',
    rule: 'A payload and an argsz larger than needed are accepted, and what the fields hold is ignored.',
    reference: '§4, §7, §18',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [what, payload] of [
        ['argsz 32 and 32 bytes of payload', Buffer.concat([deviceInfo(32), Buffer.alloc(16)])],
        ['argsz 4096', deviceInfo(4096)],
        ['fields that are not 0', u32(16, 0xffff_ffff, 7, 7)],
      ] as const) {
        expectSuccess(await connection.request(GET_INFO, payload), what, 16)
      }
    },
  },
  refusal({
    id: 'info.short',
    rule: 'A payload of less than 16 bytes is refused with EINVAL.',
    reference: '§7, §19',
    command: GET_INFO,
    requests: () =>
      [1, 4, 15].map((length) => [`${length} bytes`, deviceInfo().subarray(0, length)]),
  }),
  refusal({
    id: 'info.small-argsz',
    rule: 'An argsz below 16 is refused with EINVAL.',
    reference: '§4, §7, §19',
    command: GET_INFO,
    requests: () => [0, 1, 15].map((argsz) => [`argsz ${argsz}`, deviceInfo(argsz)]),
  }),
]
