/** Headers and framing: ids, flags, sizes, pieces, order. */
import * as wire from '../../../abi/vfio-user.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  NO_REPLY,
  refusal,
  REPLY,
} from '../check.ts'
import {
  commandName,
  describeFrame,
  type Frame,
  isError,
  type RawConnection,
} from '../raw-connection.ts'
import {
  access,
  deviceInfo,
  dmaMap,
  dmaUnmap,
  irqInfo,
  irqSet,
  message,
  NO_PAYLOAD,
  PROPOSALS,
  regionInfo,
  u64,
} from '../requests.ts'
import { configOf, isPci, maxTransfer, type Survey } from '../survey.ts'
import { Violation } from '../violation.ts'

const {
  VFIO_USER_DEVICE_GET_INFO: GET_INFO,
  VFIO_USER_DEVICE_GET_REGION_INFO: GET_REGION_INFO,
  VFIO_USER_DEVICE_GET_IRQ_INFO: GET_IRQ_INFO,
  VFIO_USER_REGION_READ: REGION_READ,
} = wire

const INFO = message(GET_INFO, deviceInfo(), { id: 0x1234 })
/** A command that nobody has. */
const UNKNOWN = 99
const PIPELINED = 1000

/** Requests that change nothing and succeed on every device: command, payload, bytes of the answer's payload. */
function harmless(survey: Survey): (readonly [number, Uint8Array, number])[] {
  const requests: (readonly [number, Uint8Array, number])[] = [[GET_INFO, deviceInfo(), 16]]
  if (survey.regions.length > 0) requests.push([GET_REGION_INFO, regionInfo(0), 32])
  if (survey.irqs.length > 0) requests.push([GET_IRQ_INFO, irqInfo(0), 16])
  if (isPci(survey)) requests.push([REGION_READ, access(configOf(survey).region, 0, 4), 20])
  return requests
}

/** Requests that are wrong for every device, one of each command, and that no server can mistake for right ones. */
const WRONG: readonly (readonly [number, Uint8Array])[] = [
  [wire.VFIO_USER_VERSION, PROPOSALS.SPDK],
  [wire.VFIO_USER_DMA_MAP, dmaMap({ argsz: 0 }).subarray(0, 8)],
  [wire.VFIO_USER_DMA_UNMAP, dmaUnmap({ argsz: 0 }).subarray(0, 8)],
  [GET_INFO, deviceInfo(0)],
  [GET_REGION_INFO, regionInfo(0xffff)],
  [wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS, NO_PAYLOAD],
  [GET_IRQ_INFO, irqInfo(0xffff)],
  [wire.VFIO_USER_DEVICE_SET_IRQS, irqSet({ flags: 0x21, index: 0xffff })],
  [REGION_READ, access(0xffff, 0, 4)],
  [wire.VFIO_USER_REGION_WRITE, access(0xffff, 0, 4, u64(0).subarray(4))],
  [wire.VFIO_USER_REGION_WRITE_MULTI, NO_PAYLOAD],
  [wire.VFIO_USER_DEVICE_FEATURE, NO_PAYLOAD],
  [UNKNOWN, NO_PAYLOAD],
]

/** Sends `pieces` one by one and expects one answer to DEVICE_GET_INFO. */
async function expectInfoFrom(
  connection: RawConnection,
  pieces: readonly Uint8Array[],
  what: string,
): Promise<void> {
  await connection.sendPieces(pieces)
  expectInfo(await connection.next(`${what}: an answer`), what)
}

function expectInfo(frame: Frame, what: string): void {
  const right = frame.command === GET_INFO && !isError(frame) && frame.payload.length === 16
  expect(right, `${what}: the answer to DEVICE_GET_INFO, 16 bytes`, describeFrame(frame))
}

/** Sends a message whose framing is broken: an error reply is as good as the end of the connection. */
async function expectBroken(context: Context, what: string, bytes: Uint8Array): Promise<void> {
  const connection = await context.attach()
  await connection.send(bytes)
  const expected = `${what}: EINVAL, or the end of the connection`
  const frame = await connection.nextOrEnd(expected)
  if (frame !== undefined) expectRefused(frame, `${what}: the end of the connection, or`)
  await connection.finish()
}

export const FRAMING_CHECKS: readonly Check[] = [
  {
    id: 'framing.ids',
    rule: 'A reply has the id of its command, whatever that is.',
    reference: '§3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const id of [0, 1, 0x7fff, 0x8000, 0xffff]) {
        const answered = await connection.request(GET_INFO, deviceInfo(), { id })
        expect(answered.id === id, `the reply to have id ${id}`, answered.id)
        const refused = await connection.request(UNKNOWN, undefined, { id })
        expect(refused.id === id, `the error reply to have id ${id}`, refused.id)
      }
    },
  },
  {
    id: 'framing.ids-repeated',
    rule: 'Commands may have the id of one that is not answered yet, and each is answered.',
    reference: '§2, §3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      await connection.send(Buffer.concat([INFO, INFO, INFO]))
      for (let i = 0; i < 3; i++) {
        const frame = await connection.next('three answers to three commands of one id')
        expectInfo(frame, 'a command with the id of another')
        expect(frame.id === 0x1234, 'the reply to have the id 4660', frame.id)
      }
      await connection.expectAlive('commands with one id')
    },
  },
  {
    id: 'framing.command',
    rule: 'A reply has the number of its command, also when it is refused or unknown.',
    reference: '§3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const requests = [...harmless(context.survey), ...WRONG]
      for (const [command, payload] of requests) {
        const frame = await connection.request(command, payload)
        expect(
          frame.command === command,
          `a reply with command ${command} (${commandName(command)})`,
          frame.command,
        )
      }
    },
  },
  {
    id: 'framing.reply',
    rule: 'The reply to a command that succeeds has the type 1, no other flag, and 0 as its error.',
    reference: '§3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [command, payload] of harmless(context.survey)) {
        const { flags, error } = await connection.request(command, payload)
        const what = commandName(command)
        expect(flags === REPLY, `${what}: flags 0x1`, `flags 0x${flags.toString(16)}`)
        expect(error === 0, `${what}: error 0`, error)
      }
    },
  },
  {
    id: 'framing.error-reply',
    rule: 'An error reply has the type 1, the Error flag, no other flag, and an errno from 1 to 4095.',
    reference: '§3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [command, payload] of WRONG) {
        const { flags, error } = await connection.request(command, payload)
        const what = `a wrong ${commandName(command)}`
        const wanted = REPLY | wire.VFIO_USER_F_ERROR
        expect(flags === wanted, `${what}: flags 0x21`, `flags 0x${flags.toString(16)}`)
        expect(error >= 1 && error <= 4095, `${what}: an errno from 1 to 4095`, error)
      }
    },
  },
  {
    id: 'framing.error-reply-size',
    rule: 'An error reply is the header alone.',
    reference: '§3, §4.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [command, payload] of WRONG) {
        const frame = await connection.request(command, payload)
        if (!isError(frame)) continue // of which another check tells
        const size = wire.VfioUserHeader.size + frame.payload.length
        expect(size === 16, `a wrong ${commandName(command)}: an error reply of 16 bytes`, size)
      }
    },
  },
  {
    id: 'framing.reserved-flags',
    rule: 'Reserved flags, the Error flag and the error field of a command are ignored.',
    reference: '§3, §17.3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const flags of [0x20, 0x40, 0x80, 0xffff_ff00]) {
        const frame = await connection.request(GET_INFO, deviceInfo(), { flags, error: 5 })
        expectInfo(frame, `DEVICE_GET_INFO with flags 0x${flags.toString(16)} and error 5`)
      }
    },
  },
  {
    id: 'framing.no-reply',
    rule: 'A command with No_reply is not answered, whatever command it is.',
    reference: '§3, §17.3',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [command, payload] of harmless(context.survey)) {
        await connection.command(command, payload, { flags: NO_REPLY, id: 0x5555 })
        const id = await connection.command(GET_INFO, deviceInfo())
        const what = `a barrier after ${commandName(command)} with No_reply`
        const frame = await connection.next(what)
        const silent = frame.id !== 0x5555
        expect(silent, `no answer to ${commandName(command)} with No_reply`, describeFrame(frame))
        expectInfo(frame, `${what}, whose id is ${id}`)
      }
    },
  },
  {
    id: 'framing.no-reply-error',
    rule: 'A command with No_reply that is wrong is not answered either, and the connection lives on.',
    reference: '§3, §19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [command, payload] of WRONG) {
        const what = `a wrong ${commandName(command)} with No_reply`
        await connection.command(command, payload, { flags: NO_REPLY, id: 0x5555 })
        await connection.command(GET_INFO, deviceInfo())
        const frame = await connection.next(`after ${what}: the answer to DEVICE_GET_INFO`)
        expect(frame.id !== 0x5555, `no answer to ${what}`, describeFrame(frame))
        expectInfo(frame, `after ${what}`)
      }
    },
  },
  {
    id: 'framing.unknown-command',
    rule: 'An unknown command is refused with EINVAL or ENOSYS, and the connection lives on.',
    reference: '§4',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const command of [0, 14, UNKNOWN, 0xffff]) {
        const frame = await connection.request(command, Buffer.alloc(16))
        expectRefused(frame, `command ${command}`, ['EINVAL', 'ENOSYS'])
        await connection.expectAlive(`command ${command}`)
      }
    },
  },
  {
    id: 'framing.server-commands',
    rule: 'DMA_READ and DMA_WRITE, which only servers send, are refused with EINVAL or ENOSYS.',
    reference: '§1, §4',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const command of [wire.VFIO_USER_DMA_READ, wire.VFIO_USER_DMA_WRITE]) {
        const frame = await connection.request(command, u64(0, 0))
        expectRefused(frame, `${commandName(command)} from a client`, ['EINVAL', 'ENOSYS'])
        await connection.expectAlive(commandName(command))
      }
    },
  },
  {
    id: 'framing.type',
    rule: 'A message that is neither command nor reply is refused with EINVAL, or ends the connection.',
    reference: '§3, §19',
    destructive: false,
    async run(context) {
      for (const type of [2, 3, 8, 15]) {
        const bytes = message(GET_INFO, deviceInfo(), { flags: type })
        await expectBroken(context, `a message of type ${type}`, bytes)
      }
    },
  },
  {
    id: 'framing.stray-reply',
    rule: 'A reply to nothing is dropped or refused with EINVAL, and the connection lives on.',
    reference: '§19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [command, payload] of [
        [wire.VFIO_USER_DMA_READ, u64(0, 8, 0)],
        [wire.VFIO_USER_DMA_WRITE, u64(0, 8)],
        [GET_INFO, deviceInfo()],
      ] as const) {
        const what = `a reply to no ${commandName(command)}`
        await connection.command(command, payload, { flags: REPLY, id: 0x5555 })
        await connection.command(GET_INFO, deviceInfo())
        let frame = await connection.next(`after ${what}: an answer to DEVICE_GET_INFO`)
        if (isError(frame)) {
          expectRefused(frame, what)
          frame = await connection.next(`after ${what}: an answer to DEVICE_GET_INFO`)
        }
        expectInfo(frame, `after ${what}`)
      }
    },
  },
  {
    id: 'framing.size-small',
    rule: 'A size below that of the header is refused with EINVAL, or ends the connection.',
    reference: '§3, §17.3',
    destructive: false,
    async run(context) {
      for (const size of [0, 1, 15]) {
        const bytes = message(GET_INFO, undefined, { size })
        await expectBroken(context, `a size of ${size}`, bytes)
      }
    },
  },
  {
    id: 'framing.size-large',
    rule: 'A size beyond the largest transfer is refused with EINVAL, or ends the connection.',
    reference: '§3, §17.3',
    destructive: false,
    async run(context) {
      for (const size of [0x7fff_ffff, 0xffff_ffff]) {
        const bytes = message(wire.VFIO_USER_REGION_WRITE, access(0xffff, 0, 0), { size })
        await expectBroken(context, `a size of ${size}`, bytes)
      }
    },
  },
  {
    id: 'framing.header-alone',
    rule: 'A header without payload is a whole message: a command that needs one is refused with EINVAL.',
    reference: '§3, §19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const command of [GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, REGION_READ]) {
        const frame = await connection.request(command)
        expectRefused(frame, `${commandName(command)} without payload`)
        await connection.expectAlive(`${commandName(command)} without payload`)
      }
    },
  },
  {
    id: 'framing.split',
    rule: 'A message may come in two pieces, cut at any byte.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (let at = 1; at < INFO.length; at++) {
        const pieces = [INFO.subarray(0, at), INFO.subarray(at)]
        await expectInfoFrom(connection, pieces, `DEVICE_GET_INFO cut at byte ${at}`)
      }
    },
  },
  {
    id: 'framing.split-version',
    rule: 'VERSION, too, may come in two pieces, cut at any byte.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const bytes = message(wire.VFIO_USER_VERSION, PROPOSALS.SPDK)
      const json = message(wire.VFIO_USER_VERSION, PROPOSALS.qemu)
      const cuts = [
        ...Array.from({ length: bytes.length - 1 }, (_, i) => [bytes, i + 1] as const),
        ...[21, 100, json.length - 1].map((at) => [json, at] as const),
      ]
      for (const [whole, at] of cuts) {
        const connection = await context.connect()
        await connection.sendPieces([whole.subarray(0, at), whole.subarray(at)])
        const what = `VERSION cut at byte ${at}`
        expectSuccess(await connection.next(`${what}: an answer`), what)
        await connection.finish()
      }
    },
  },
  {
    id: 'framing.bytewise',
    rule: 'A message may come byte by byte.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const pieces = Array.from(INFO, (byte) => Uint8Array.of(byte))
      await expectInfoFrom(connection, pieces, 'DEVICE_GET_INFO byte by byte')
    },
  },
  {
    id: 'framing.split-pair',
    rule: 'Two messages may come in two pieces, cut at any byte of either.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const both = Buffer.concat([INFO, INFO])
      for (let at = 1; at < both.length; at++) {
        const what = `two DEVICE_GET_INFO cut at byte ${at}`
        await expectInfoFrom(connection, [both.subarray(0, at), both.subarray(at)], what)
        expectInfo(await connection.next(`${what}: a second answer`), what)
      }
    },
  },
  {
    id: 'framing.merged',
    rule: 'Several messages may come in one write, and each is answered.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const count of [2, 3, 64]) {
        await connection.send(Buffer.concat(Array.from({ length: count }, () => INFO)))
        for (let i = 0; i < count; i++) {
          const what = `answer ${i + 1} to ${count} messages in one write`
          expectInfo(await connection.next(what), what)
        }
      }
      await connection.expectAlive('messages in one write')
    },
  },
  {
    id: 'framing.order',
    rule: 'Replies come in the order of their commands, refusals included.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const round: (readonly [number, Uint8Array])[] = [
        ...harmless(context.survey).map(([command, payload]) => [command, payload] as const),
        [UNKNOWN, NO_PAYLOAD],
        [GET_INFO, deviceInfo(0)],
      ]
      const requests = Array.from({ length: 20 }, () => round).flat()
      await connection.send(
        Buffer.concat(requests.map(([command, payload]) => message(command, payload))),
      )
      for (const [i, [command]] of requests.entries()) {
        const expected = `answer ${i + 1} of ${requests.length} to be of ${commandName(command)}`
        const frame = await connection.next(expected)
        if (frame.command !== command) throw new Violation(expected, describeFrame(frame))
      }
    },
  },
  {
    id: 'framing.pipeline',
    rule: 'A thousand commands sent without waiting are all answered, one answer each.',
    reference: '§2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const requests = Array.from({ length: PIPELINED }, () => INFO)
      await connection.send(Buffer.concat(requests))
      for (let i = 0; i < PIPELINED; i++) {
        const what = `answer ${i + 1} of ${PIPELINED}`
        expectInfo(await connection.next(what), what)
      }
      await connection.expectAlive('a thousand commands')
    },
  },
  refusal({
    id: 'framing.payload-drained',
    rule: 'The payload of a refused command is read past, however long it is, and what follows is understood.',
    reference: '§3, §19',
    command: UNKNOWN,
    errnos: ['EINVAL', 'ENOSYS'],
    requests: (survey) =>
      [1, 4096, 65_536, maxTransfer(survey)]
        .filter((length) => length <= maxTransfer(survey))
        // each would be a command itself if it were not read past
        .map((length) => [`a payload of ${length} bytes`, Buffer.alloc(length, INFO)]),
  }),
]
