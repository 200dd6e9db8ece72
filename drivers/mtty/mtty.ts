/** mtty: a PCI serial card with one or two 16550A ports, whose far ends are terminals, sockets or plugs. */
import { join } from 'node:path'
import { choice, defineDriver, sharedBudget } from 'mdevkit'
import type { Port } from './port.ts'
import { LoopbackPort } from './port-loopback.ts'
import { PtyPort } from './port-pty.ts'
import { SocketPort } from './port-socket.ts'
import { Uart16550 } from './uart-16550.ts'

const MAX_PORTS = 24 // per parent, however its mdevs divide them

type FarEnd = 'pty' | 'socket' | 'loopback'

const OPEN: Record<FarEnd, (path: string, heedsRts: boolean) => Port> = {
  pty: (path, heedsRts) => PtyPort.open(path, heedsRts),
  socket: (path, heedsRts) => SocketPort.open(path, heedsRts),
  loopback: () => new LoopbackPort(),
}

export const mtty = defineDriver({
  name: 'mtty',
  types: {
    1: { name: 'Single port serial', ports: 1 },
    2: { name: 'Dual port serial', ports: 2 },
  },
  attributes: {
    ports: choice(['pty', 'socket', 'loopback'], {
      default: 'pty',
      description: 'the far end of every port',
    }),
    flow: choice(['rts', 'none'], {
      default: 'rts',
      description: 'whether input waits while the guest, having written MCR, holds RTS low',
    }),
  },
  available: sharedBudget(MAX_PORTS, (type) => type.ports),
  probe(mdev) {
    const pci = mdev.pci({ vendor: 0x4348, device: 0x3253, revision: 0x10, class: 0x07_00_02 })
    const ports: Port[] = []
    try {
      for (let index = 0; index < mdev.type.ports; index++) {
        const path = join(mdev.directory, `port${index}`)
        ports.push(OPEN[mdev.attributes.ports](path, mdev.attributes.flow === 'rts'))
      }
      const uarts = ports.map((port) => new Uart16550(pci.intx(), port))
      uarts.forEach((uart, bar) => pci.bar(bar, { kind: 'io', size: 8, maxWidth: 1 }, uart))
      return {
        reset: (why) => uarts.forEach((uart) => uart.reset(why)),
        remove() {
          uarts.forEach((uart) => uart.close())
          ports.forEach((port) => port.close())
        },
        status: () => Object.fromEntries(ports.map((port, index) => [`port${index}`, port.place])),
      }
    } catch (error) {
      ports.forEach((port) => port.close())
      throw error
    }
  },
})
