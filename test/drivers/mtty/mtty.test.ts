import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type {
  BarInfo,
  Dma,
  IrqLine,
  Logger,
  Mdev,
  PciFunction,
  PciIdentity,
  Registers,
} from 'mdevkit'
import { mtty } from '../../../drivers/mtty/mtty.ts'
import { Scratch } from '../../support/scratch.ts'
import { FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, THR } from './support.ts'
import { until } from '../../support/until.ts'

type MttyMdev = Parameters<typeof mtty.probe>[0]
const TYPES = { 1: mtty.types['1']!, 2: mtty.types['2']! }

/** The SDK's side of an mdev, written down. */
class FakeMdev implements Mdev<MttyMdev['type']> {
  readonly uuid = '83c32df7-d52e-4ec1-9668-1f3c7e4df107'
  readonly dma = {} as Dma
  readonly log = {} as Logger
  readonly type: MttyMdev['type']
  readonly attributes: MttyMdev['attributes']
  readonly directory: string
  identity: PciIdentity | undefined
  readonly bars: { index: number; info: BarInfo; registers: Registers }[] = []
  readonly lines: { asserted: boolean }[] = []

  constructor(type: 1 | 2, ports: MttyMdev['attributes']['ports'], directory: string) {
    this.type = TYPES[type]
    this.attributes = { ports, flow: 'rts' }
    this.directory = directory
  }

  pci(identity: PciIdentity): PciFunction {
    this.identity = identity
    return {
      intx: () => this.#line(),
      bar: (index: number, info: BarInfo, registers: Registers) =>
        void this.bars.push({ index, info, registers }),
    } as unknown as PciFunction
  }

  sharedMemory(): never {
    throw new Error('mtty shares no memory')
  }

  #line(): IrqLine {
    const line = { asserted: false, set: (asserted: boolean) => void (line.asserted = asserted) }
    this.lines.push(line)
    return line
  }
}

test('mtty is the card of the kernel sample', async () => {
  using scratch = new Scratch()
  for (const type of [1, 2] as const) {
    const mdev = new FakeMdev(type, 'loopback', scratch.path)
    const device = await mtty.probe(mdev)
    // samples/vfio-mdev/mtty.c, mtty_create_config_space
    assert.deepEqual(mdev.identity, {
      vendor: 0x4348,
      device: 0x3253,
      class: 0x070002,
      revision: 0x10,
    })
    const bars = mdev.bars.map(({ index, info }) => ({ index, info }))
    const info = { kind: 'io', size: 8, maxWidth: 1 }
    assert.deepEqual(bars, [{ index: 0, info }, ...(type === 2 ? [{ index: 1, info }] : [])])
    device.remove?.()
  }
})

test('mtty has 24 ports a parent, which both types share', () => {
  assert.equal(mtty.name, 'mtty')
  assert.deepEqual(Object.keys(mtty.types), ['1', '2'])
  const mdevs = (...ports: (1 | 2)[]) => ports.map((type) => new FakeMdev(type, 'pty', '/nowhere'))
  const available = (...ports: (1 | 2)[]) =>
    ([1, 2] as const).map((type) => mtty.available?.(TYPES[type], mdevs(...ports)))
  assert.deepEqual(available(), [24, 12])
  assert.deepEqual(available(1), [23, 11])
  assert.deepEqual(available(1, 2), [21, 10])
  assert.deepEqual(available(...Array<2>(11).fill(2)), [2, 1])
  assert.deepEqual(available(...Array<2>(11).fill(2), 1), [1, 0])
  assert.deepEqual(available(...Array<2>(12).fill(2)), [0, 0])
})

test('mtty offers far ends, terminals unless chosen otherwise', () => {
  const { ports } = mtty.attributes!
  assert.equal(ports.default, 'pty')
  assert.deepEqual(
    ['pty', 'socket', 'loopback'].map((word) => ports.parse(word)),
    ['pty', 'socket', 'loopback'],
  )
  assert.throws(() => ports.parse('modem'), { code: 'EINVAL' })
})

test('the ports of a card are apart, each with an interrupt of its own', async () => {
  using scratch = new Scratch()
  const mdev = new FakeMdev(2, 'loopback', scratch.path)
  const device = await mtty.probe(mdev)
  assert.deepEqual(device.status?.(), { port0: 'loopback', port1: 'loopback' })
  const [first, second] = mdev.bars.map(({ registers }) => registers)
  second!.write(THR, 0x41, 1)
  assert.equal(first!.read(LSR, 1), 0x60)
  assert.equal(second!.read(RBR, 1), 0x41)
  first!.write(1, 0x02, 1)
  assert.deepEqual(
    mdev.lines.map(({ asserted }) => asserted),
    [true, false],
  )
  device.reset('device')
  assert.deepEqual(
    mdev.lines.map(({ asserted }) => asserted),
    [false, false],
  )
  device.remove?.()
})

test('mtty with sockets carries bytes between guest and peer', async () => {
  using scratch = new Scratch()
  const mdev = new FakeMdev(2, 'socket', scratch.path)
  const device = await mtty.probe(mdev)
  const status = { port0: join(scratch.path, 'port0'), port1: join(scratch.path, 'port1') }
  assert.deepEqual(device.status?.(), status)
  const uart = mdev.bars[1]!.registers
  uart.write(1, 0x09, 1) // interrupts for received data and modem status
  const peer = connect(status.port1)
  await once(peer, 'connect')
  await until(() => (uart.read(MSR, 1) & 0x80) !== 0, 'a carrier')
  uart.write(THR, 0x51, 1)
  assert.equal(String(await once(peer, 'data')), 'Q')
  peer.write('A')
  await until(() => mdev.lines[1]!.asserted, 'an interrupt')
  assert.equal(uart.read(RBR, 1), 0x41)
  device.remove?.()
  await once(peer, 'close')
})

test('a guest that opens its port as Linux does gets what a peer sent before', async () => {
  using scratch = new Scratch()
  const mdev = new FakeMdev(1, 'socket', scratch.path)
  const device = await mtty.probe(mdev)
  const uart = mdev.bars[0]!.registers
  const write = (offset: number, ...values: number[]) =>
    values.forEach((value) => uart.write(offset, value, 1))
  write(MCR, 0x00) // serial8250_do_set_mctrl at boot: from here on the driver drives RTS
  const peer = connect(join(scratch.path, 'port0'))
  const words = 'sent long before anybody had opened the port, and longer than any FIFO of a 16550A'
  peer.write(words)
  await until(() => (uart.read(MSR, 1) & 0x80) !== 0, 'a carrier')
  for (let round = 0; round < 3; round++) {
    // serial8250_do_startup, then set_termios: clears the FIFOs and reads RX and LSR blindly, several times
    write(FCR, 0x01, 0x07, 0x00)
    for (const offset of [LSR, RBR, IIR, MSR]) uart.read(offset, 1)
    write(LCR, 0x03)
    write(MCR, 0x08)
    for (const offset of [LSR, RBR, IIR, MSR]) uart.read(offset, 1)
    write(IER, 0x05)
    write(LCR, 0x13)
    write(FCR, 0x01, 0x81)
    assert.equal(uart.read(LSR, 1), 0x60)
    if (round < 2) {
      // serial8250_do_shutdown of a port that nobody read
      write(IER, 0x00)
      write(MCR, 0x00)
    }
  }
  write(MCR, 0x0b)
  let received = ''
  await until(() => {
    while (uart.read(LSR, 1) & 0x01) received += String.fromCharCode(uart.read(RBR, 1))
    assert.equal(received, words)
  })
  device.remove?.()
  await once(peer.resume(), 'close')
})

/** What this process holds open, by what it leads to. */
function openFds(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return [] // the one that listed the directory
    }
  })
}

async function settle(): Promise<void> {
  // handles are closed by the event loop's next turn
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve))
}

test('remove() leaves no file, fd or timer', async () => {
  using scratch = new Scratch()
  const probe = async (ports: MttyMdev['attributes']['ports']) => {
    const mdev = new FakeMdev(2, ports, scratch.path)
    const device = await mtty.probe(mdev)
    for (const { registers } of mdev.bars) {
      registers.write(2, 0x81, 1)
      registers.write(1, 0x0f, 1)
      registers.write(THR, 0x41, 1)
    }
    return device
  }
  for (const ports of ['loopback', 'socket', 'pty'] as const) {
    ;(await probe(ports)).remove?.() // what a process makes once and keeps
    await settle()
    const before = { fds: openFds().length, resources: process.getActiveResourcesInfo().length }
    const device = await probe(ports)
    assert.equal(readdirSync(scratch.path).length, ports === 'loopback' ? 0 : 2)
    device.remove?.()
    device.remove?.()
    await settle()
    assert.deepEqual(readdirSync(scratch.path), [], ports)
    const after = { fds: openFds().length, resources: process.getActiveResourcesInfo().length }
    assert.deepEqual(after, before, ports)
  }
})

test('probe undoes port 0 when port 1 cannot be had', async () => {
  for (const [ports, code] of [
    ['socket', 'EADDRINUSE'],
    ['pty', 'EEXIST'],
  ] as const) {
    using scratch = new Scratch()
    const taken = join(scratch.path, 'port1')
    writeFileSync(taken, 'mine')
    await assert.rejects(async () => mtty.probe(new FakeMdev(2, ports, scratch.path)), { code })
    await settle()
    const before = openFds().length
    await assert.rejects(async () => mtty.probe(new FakeMdev(2, ports, scratch.path)), { code })
    await settle()
    assert.deepEqual(readdirSync(scratch.path), ['port1'])
    assert.ok(statSync(taken).isFile())
    assert.equal(openFds().length, before)
  }
})
