/** DEVICE_RESET. */
import * as wire from '../../../abi/vfio-user.ts'
import * as pci from '../../../abi/pci.ts'
import * as vfio from '../../../abi/vfio.ts'
import {
  type Check,
  type Context,
  expect,
  expectSuccess,
  expectSuccessOr,
  refusal,
} from '../check.ts'
import { eventfd, isSignalled } from '../files.ts'
import { bytesUnmapped, isError, type RawConnection } from '../raw-connection.ts'
import { access, dmaMap, dmaUnmap, irqSet, PAGE, u16 } from '../requests.ts'
import { configOf, type Survey } from '../survey.ts'
import { Skip } from '../violation.ts'

const { VFIO_USER_DEVICE_RESET: RESET } = wire
const COMMAND_BITS = pci.PCI_COMMAND_IO | pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER

/** Attaches to a device that can be reset. */
async function attach(context: Context): Promise<RawConnection> {
  if (!isResettable(context.survey)) throw new Skip('it says that it cannot be reset')
  return context.attach()
}

function isResettable({ flags }: Survey): boolean {
  return (flags & vfio.VFIO_DEVICE_FLAGS_RESET) !== 0
}

export const RESET_CHECKS: readonly Check[] = [
  {
    id: 'reset.reply',
    rule: 'DEVICE_RESET is answered with the header alone, as often as it comes.',
    reference: '§4.1, §13',
    destructive: true,
    async run(context) {
      const connection = await attach(context)
      for (let i = 0; i < 3; i++) {
        expectSuccess(await connection.request(RESET), 'DEVICE_RESET', 0)
        await connection.expectAlive('DEVICE_RESET')
      }
    },
  },
  {
    id: 'reset.unsupported',
    rule: 'A device that says that it cannot be reset answers DEVICE_RESET all the same, be it with EINVAL, ENOSYS or EOPNOTSUPP.',
    reference: '§7, §13',
    destructive: true,
    async run(context) {
      if (isResettable(context.survey)) throw new Skip('it can be reset')
      const connection = await context.attach()
      const frame = await connection.request(RESET)
      expectSuccessOr(frame, 'DEVICE_RESET', ['EINVAL', 'ENOSYS', 'EOPNOTSUPP'])
      await connection.expectAlive('DEVICE_RESET')
    },
  },
  refusal({
    id: 'reset.payload',
    rule: 'A DEVICE_RESET with payload is refused with EINVAL.',
    reference: '§13, §19',
    command: RESET,
    destructive: true,
    requests: () => [1, 4, 16].map((length) => [`${length} bytes`, Buffer.alloc(length)]),
  }),
  {
    id: 'reset.registers',
    rule: 'DEVICE_RESET brings the Command register back to its power-on state, in which the device decodes nothing.',
    reference: '§13',
    destructive: true,
    async run(context) {
      const { region } = configOf(context.survey)
      const connection = await attach(context)
      const write = access(region, pci.PCI_COMMAND, 2, u16(COMMAND_BITS))
      expectSuccess(await connection.request(wire.VFIO_USER_REGION_WRITE, write), 'a write')
      expectSuccess(await connection.request(RESET), 'DEVICE_RESET')
      const read = access(region, pci.PCI_COMMAND, 2)
      const frame = await connection.request(wire.VFIO_USER_REGION_READ, read)
      expectSuccess(frame, 'a read of the Command register', 18)
      const command = frame.payload.readUInt16LE(16)
      const clear = (command & COMMAND_BITS) === 0
      expect(clear, 'I/O, memory and bus master bits clear', `Command 0x${command.toString(16)}`)
    },
  },
  {
    id: 'reset.keeps-maps',
    rule: 'DEVICE_RESET keeps the maps: each can be unmapped after it.',
    reference: '§13',
    destructive: true,
    async run(context) {
      const connection = await attach(context)
      expectSuccess(await connection.request(wire.VFIO_USER_DMA_MAP, dmaMap()), 'DMA_MAP')
      expectSuccess(await connection.request(RESET), 'DEVICE_RESET')
      const frame = await connection.request(wire.VFIO_USER_DMA_UNMAP, dmaUnmap())
      expectSuccess(frame, 'DMA_UNMAP of what was mapped before the reset')
      const told = bytesUnmapped(frame) ?? BigInt(PAGE)
      expect(told === BigInt(PAGE), 'a page that was mapped before the reset', String(told))
    },
  },
  {
    id: 'reset.keeps-irqs',
    rule: 'DEVICE_RESET keeps the eventfds that are assigned.',
    reference: '§13',
    destructive: true,
    async run(context) {
      const connection = await attach(context)
      const irq = context.survey.irqs.find(
        ({ count, flags }) => count > 0 && (flags & vfio.VFIO_IRQ_INFO_EVENTFD) !== 0,
      )
      if (irq === undefined) throw new Skip('it has no interrupts')
      const { index } = irq
      const told = eventfd(context)
      const { VFIO_USER_DEVICE_SET_IRQS: SET_IRQS } = wire
      const assigning = irqSet({ flags: 0x24, index, count: 1 })
      expectSuccess(
        await connection.request(SET_IRQS, assigning, { fds: [told.fd] }),
        'an eventfd for a vector',
      )
      expectSuccess(await connection.request(RESET), 'DEVICE_RESET')
      const firing = await connection.request(SET_IRQS, irqSet({ flags: 0x21, index, count: 1 }))
      expect(!isError(firing), 'the loopback test to succeed', `errno ${firing.error}`)
      const signalled = await isSignalled(context, told)
      expect(signalled, `irq ${index}: its eventfd is signalled after a reset`, 'silence')
    },
  },
]
