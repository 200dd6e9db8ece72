/** The demo without a VM: mdevkit's own client plays the guest, from configuration space to the last interrupt. */
import * as pci from '../src/abi/pci.ts'
import * as vfio from '../src/abi/vfio.ts'
import { bytes, hex } from '../src/lib/format.ts'
import { Client } from '../src/vfio-user/client.ts'
import type { ClientInterrupts } from '../src/vfio-user/client-interrupts.ts'
import { Answerer } from './answer.ts'
import { type DemoOptions, type Stage, onStage } from './stage.ts'
import { rows, showCounts, showNext } from './summary.ts'
import { talk } from './talk.ts'
import { UartClient } from './uart-client.ts'

const CONFIG = vfio.VFIO_PCI_CONFIG_REGION_INDEX
const INTX = vfio.VFIO_PCI_INTX_IRQ_INDEX
const PAGE = 4096
const IOVA = 0x10_0000
/** Where a guest's firmware might place the first BAR. */
const FIRST_PORT = 0xc000

/** @throws what goes wrong; a difference and a time-out say what was expected and what came */
export async function clientDemo(options: DemoOptions): Promise<void> {
  await onStage(options, async (stage) => play(options, stage))
}

async function play(options: DemoOptions, stage: Stage): Promise<void> {
  const { screen } = options
  const { card, conversations } = stage
  screen.step("mdevkit's own client, in the place of a guest")
  const client = await Client.attach(card.socket)
  try {
    const identity = await identify(client)
    const bars = await placeBars(client, conversations.length)
    const memory = await client.map(IOVA, PAGE)
    const interrupts = await client.interrupts(INTX)
    const uarts = await Promise.all(bars.map(async (_, bar) => openUart(client, bar, identity)))
    screen.show(
      rows({
        identity,
        ...Object.fromEntries(bars.map((bar, index) => [`BAR ${index}`, bar])),
        memory: `${bytes(PAGE)} mapped at iova ${hex(IOVA)}`,
        interrupts: 'INTx at an eventfd',
        UARTs: '16550A, 115200 8N1, FIFOs on',
      }),
    )
    void serve(uarts, interrupts).catch((error: unknown) => stage.fail(error))
    screen.step('Talking through it')
    await talk(
      conversations.map((conversation) => ({ conversation, commands: ['lspci -n', 'stty'] })),
      options,
    )
    await memory.unmap()
  } finally {
    client.detach()
  }
  screen.step('Summary')
  showCounts(screen, card.counts)
  showNext(screen, { 'npm run demo': 'the same with a real guest, where QEMU or apt is at hand' })
}

/** As `lspci -n` shows it. */
async function identify(client: Client): Promise<string> {
  const vendor = await client.readRegister(CONFIG, pci.PCI_VENDOR_ID, 2)
  const device = await client.readRegister(CONFIG, pci.PCI_DEVICE_ID, 2)
  const revision = await client.readRegister(CONFIG, pci.PCI_CLASS_REVISION, 4)
  const digits = (value: number, count: number) => value.toString(16).padStart(count, '0')
  const kind = digits(revision >>> 16, 4)
  return `${kind}: ${digits(vendor, 4)}:${digits(device, 4)} (rev ${digits(revision & 0xff, 2)})`
}

/** Gives each BAR an address, as a guest's firmware would, and turns decoding on. @returns what they are */
async function placeBars(client: Client, count: number): Promise<readonly string[]> {
  const bars: string[] = []
  for (let index = 0; index < count; index++) {
    const register = pci.PCI_BASE_ADDRESS_0 + 4 * index
    await client.writeRegister(CONFIG, register, 0xffff_ffff, 4)
    const mask = await client.readRegister(CONFIG, register, 4)
    const size = ~(mask & ~3) + 1
    const port = FIRST_PORT + index * size
    await client.writeRegister(CONFIG, register, port, 4)
    bars.push(`I/O ports at ${hex(port)} [size=${size}]`)
  }
  await client.writeRegister(
    CONFIG,
    pci.PCI_COMMAND,
    pci.PCI_COMMAND_IO | pci.PCI_COMMAND_MASTER,
    2,
  )
  return bars
}

/** Opens the UART behind a BAR, with somebody who answers what it receives. */
async function openUart(client: Client, bar: number, identity: string): Promise<UartClient> {
  const uart = new UartClient(client, bar, {
    onCarrier: () => answerer.greet(),
    onBytes: (received) => answerer.hear(received),
  })
  const answerer = new Answerer((answer) => uart.send(answer), {
    'lspci -n': () => `00:00.0 ${identity}`,
    stty: () => 'speed 115200 baud; cs8 -parenb -cstopb',
  })
  await uart.open()
  return uart
}

/** Serves interrupts until the client detaches. The pin is shared, so each UART is asked. */
async function serve(uarts: readonly UartClient[], interrupts: ClientInterrupts): Promise<never> {
  for (;;) {
    await interrupts.next()
    for (const uart of uarts) await uart.service()
    await interrupts.unmask()
  }
}
