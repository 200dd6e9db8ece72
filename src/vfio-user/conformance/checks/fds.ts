/**
 * Who owns an fd: the receiver, who uses it or closes it. What is given away here is one end of a socket pair, whose other
 * end tells when the last copy is closed.
 */
import * as wire from '../../../abi/vfio-user.ts'
import {
  type Check,
  type Context,
  expectRefused,
  expectSuccess,
  expectSuccessOr,
  NO_REPLY,
  REPLY,
} from '../check.ts'
import { memory } from '../files.ts'
import { isError, type RawConnection } from '../raw-connection.ts'
import {
  access,
  deviceInfo,
  dmaMap,
  dmaUnmap,
  ioFds,
  irqInfo,
  irqSet,
  message,
  NO_PAYLOAD,
  PAGE,
  PROPOSALS,
  regionInfo,
} from '../requests.ts'
import { isPci, type Survey } from '../survey.ts'
import { Skip } from '../violation.ts'

/** The most that Linux passes in one message. */
const SCM_MAX_FD = 253

const INFO = message(wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo())

/** Commands that carry no fds, with which a few come all the same. */
function withoutFds(survey: Survey): readonly (readonly [string, number, Uint8Array])[] {
  const reads = [['REGION_READ', wire.VFIO_USER_REGION_READ, access(7, 0, 4)]] as const
  return [
    ['DEVICE_GET_INFO', wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo()],
    ['DEVICE_GET_REGION_INFO', wire.VFIO_USER_DEVICE_GET_REGION_INFO, regionInfo(0)],
    ['DEVICE_GET_REGION_IO_FDS', wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS, ioFds(0)],
    ['DEVICE_GET_IRQ_INFO', wire.VFIO_USER_DEVICE_GET_IRQ_INFO, irqInfo(0)],
    ...(isPci(survey) ? reads : []),
    ['REGION_WRITE of no region', wire.VFIO_USER_REGION_WRITE, access(0xffff, 0, 0)],
    ['an unknown command', 99, NO_PAYLOAD],
  ]
}

/** The connection may end over it, or go on; the fds are closed either way. */
async function giveAndSee(
  context: Context,
  connection: RawConnection,
  what: string,
  bytes: Uint8Array,
  count = 1,
): Promise<void> {
  const beacon = context.beacon()
  await connection.send(
    bytes,
    Array.from({ length: count }, () => beacon.fd),
  )
  await connection.nextOrEnd(`an answer to ${what}`)
  await beacon.expectReleased(what)
}

export const FD_CHECKS: readonly Check[] = [
  {
    id: 'fds.unexpected',
    rule: 'fds that come with a command that carries none are closed; the command is refused with EINVAL or answered as without them.',
    reference: '§2, §19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const [name, command, payload] of withoutFds(context.survey)) {
        const without = await connection.request(command, payload)
        const beacon = context.beacon()
        const fds = [beacon.fd, beacon.fd, beacon.fd]
        const frame = await connection.request(command, payload, { fds })
        const what = `${name} with 3 fds`
        if (isError(without)) expectRefused(frame, what, ['EINVAL', 'ENOSYS', 'EOPNOTSUPP'])
        else expectSuccessOr(frame, what)
        await beacon.expectReleased(what)
        await connection.expectAlive(what)
      }
    },
  },
  {
    id: 'fds.no-reply',
    rule: 'fds that come with a command with No_reply that is wrong are closed.',
    reference: '§2, §19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const beacon = context.beacon()
      const options = { fds: [beacon.fd], flags: NO_REPLY }
      await connection.command(wire.VFIO_USER_REGION_READ, access(0xffff, 0, 4), options)
      await beacon.expectReleased('a wrong command with No_reply')
      await connection.expectAlive('a wrong command with No_reply')
    },
  },
  {
    id: 'fds.version',
    rule: 'fds that come with VERSION are closed, and so is the connection, or VERSION is answered.',
    reference: '§2, §19',
    destructive: false,
    async run(context) {
      const connection = await context.connect()
      const bytes = message(wire.VFIO_USER_VERSION, PROPOSALS.qemu)
      await giveAndSee(context, connection, 'VERSION with an fd', bytes)
    },
  },
  {
    id: 'fds.first',
    rule: 'fds that come with a first message that is not VERSION are closed.',
    reference: '§2, §19',
    destructive: false,
    async run(context) {
      const connection = await context.connect()
      const bytes = message(wire.VFIO_USER_DMA_MAP, dmaMap())
      await giveAndSee(context, connection, 'DMA_MAP as the first message', bytes)
    },
  },
  {
    id: 'fds.stray-reply',
    rule: 'fds that come with a reply to nothing are closed.',
    reference: '§19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const beacon = context.beacon()
      const options = { fds: [beacon.fd], flags: REPLY }
      await connection.command(wire.VFIO_USER_DMA_READ, Buffer.alloc(16), options)
      await beacon.expectReleased('a reply to nothing')
    },
  },
  {
    id: 'fds.broken',
    rule: 'fds that come with a message whose size is wrong are closed.',
    reference: '§2, §19',
    destructive: false,
    async run(context) {
      for (const size of [0, 15, 0xffff_ffff]) {
        const connection = await context.attach()
        const bytes = message(wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo(), { size })
        await giveAndSee(context, connection, `a message of size ${size}`, bytes)
        await connection.finish()
      }
    },
  },
  {
    id: 'fds.middle',
    rule: 'fds that come in the middle of a message are closed.',
    reference: '§2',
    destructive: false,
    async run(context) {
      for (const at of [8, 16, 20]) {
        const connection = await context.attach()
        const beacon = context.beacon()
        await connection.sendPieces([INFO.subarray(0, at), INFO.subarray(at)], [beacon.fd])
        await beacon.expectReleased(`an fd with byte ${at} of a message`)
        await connection.finish()
      }
    },
  },
  {
    id: 'fds.half-sent',
    rule: 'fds of a message of which only a part came are closed when the connection ends.',
    reference: '§2',
    destructive: false,
    async run(context) {
      for (const length of [1, 15, 16, 20]) {
        const connection = await context.attach()
        const beacon = context.beacon()
        await connection.sendPieces([INFO.subarray(0, length)], [beacon.fd])
        connection.close()
        await beacon.expectReleased(`${length} bytes and the end of the connection`)
      }
    },
  },
  {
    id: 'fds.many',
    rule: 'As many fds as Linux passes in one message, 253, are closed, and the connection ends or goes on.',
    reference: '§2, §19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      await giveAndSee(context, connection, 'a message with 253 fds', INFO, SCM_MAX_FD)
    },
  },
  {
    id: 'fds.map-refused',
    rule: 'The fd of a DMA_MAP that is refused is closed.',
    reference: '§2, §6.1',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      for (const [what, payload] of [
        ['a payload of 8 bytes', dmaMap().subarray(0, 8)],
        ['argsz 0', dmaMap({ argsz: 0 })],
        ['flags 0x10', dmaMap({ flags: 0x10 })],
        ['size 0', dmaMap({ size: 0 })],
      ] as const) {
        const beacon = context.beacon()
        const options = { fds: [beacon.fd] }
        expectRefused(await connection.request(wire.VFIO_USER_DMA_MAP, payload, options), what)
        await beacon.expectReleased(`DMA_MAP with ${what}`)
      }
    },
  },
  {
    id: 'fds.map-socket',
    rule: 'A DMA_MAP whose fd cannot be mapped is refused, or is served without it; the fd is closed by the end of the connection at the latest.',
    reference: '§6.1, §19',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      const beacon = context.beacon()
      const frame = await connection.request(wire.VFIO_USER_DMA_MAP, dmaMap(), {
        fds: [beacon.fd],
      })
      await connection.expectAlive('DMA_MAP with a socket')
      if (!isError(frame)) await connection.finish()
      await beacon.expectReleased('DMA_MAP with a socket')
    },
  },
  {
    id: 'fds.map-two',
    rule: 'A DMA_MAP with two fds is refused with EINVAL, or uses the first; the second is closed.',
    reference: '§6.1, §19',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      const beacon = context.beacon()
      const frame = await connection.request(wire.VFIO_USER_DMA_MAP, dmaMap(), {
        fds: [memory(context, PAGE), beacon.fd],
      })
      expectSuccessOr(frame, 'DMA_MAP with 2 fds')
      await beacon.expectReleased('DMA_MAP with 2 fds')
    },
  },
  {
    id: 'fds.unmap',
    rule: 'An fd that comes with DMA_UNMAP, as from SPDK, is closed, and the unmap succeeds.',
    reference: '§6.2, §17.2',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      const beacon = context.beacon()
      expectSuccess(await connection.request(wire.VFIO_USER_DMA_MAP, dmaMap()), 'DMA_MAP')
      const frame = await connection.request(wire.VFIO_USER_DMA_UNMAP, dmaUnmap(), {
        fds: [beacon.fd],
      })
      expectSuccess(frame, 'DMA_UNMAP with an fd')
      await beacon.expectReleased('DMA_UNMAP with an fd')
    },
  },
  {
    id: 'fds.irqs-refused',
    rule: 'The fds of a DEVICE_SET_IRQS that is refused are closed.',
    reference: '§2, §10.2, §19',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      for (const [what, payload] of [
        ['index 0xffff', irqSet({ flags: 0x24, index: 0xffff, count: 1 })],
        ['no flags', irqSet({ flags: 0, index: 0, count: 1 })],
        ['NONE', irqSet({ flags: 0x21, index: 0, count: 1 })],
        ['vectors beyond 2^31', irqSet({ flags: 0x24, index: 0, start: 0x8000_0000, count: 1 })],
        ['a payload of 8 bytes', irqSet({ flags: 0x24, index: 0 }).subarray(0, 8)],
      ] as const) {
        const beacon = context.beacon()
        const options = { fds: [beacon.fd] }
        const frame = await connection.request(wire.VFIO_USER_DEVICE_SET_IRQS, payload, options)
        expectRefused(frame, what)
        await beacon.expectReleased(`DEVICE_SET_IRQS with ${what}`)
      }
    },
  },
  {
    id: 'fds.irqs-socket',
    rule: 'What is no eventfd is refused with EINVAL where an eventfd is wanted, and closed.',
    reference: '§19',
    destructive: true,
    async run(context) {
      const irq = context.survey.irqs.find(({ count }) => count > 0)
      if (irq === undefined) throw new Skip('it has no interrupts')
      const connection = await context.attach()
      const beacon = context.beacon()
      const payload = irqSet({ flags: 0x24, index: irq.index, count: 1 })
      const frame = await connection.request(wire.VFIO_USER_DEVICE_SET_IRQS, payload, {
        fds: [beacon.fd],
      })
      expectRefused(frame, 'a socket as an eventfd')
      await beacon.expectReleased('a socket as an eventfd')
    },
  },
]
