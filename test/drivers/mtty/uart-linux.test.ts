/** What the stock Linux 8250 driver does to a port: restated from drivers/tty/serial/8250/8250_port.c (Linux 5 to 6). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LoopbackPort } from '../../../drivers/mtty/port-loopback.ts'
import { Uart16550 } from '../../../drivers/mtty/uart-16550.ts'
import { Bench, DLL, DLM, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, SCR, THR } from './support.ts'

const EFR = 2 // of chips that have one: with LCR bf, or with DLAB

/** What autoconfig() takes a port for. Every test of its is here; those that a 16550A must fail come with its verdict. */
function autoconfig(bench: Bench): string {
  const { r, w } = { r: (at: number) => bench.r(at), w: (at: number, v: number) => bench.w(at, v) }

  const ier = r(IER)
  w(IER, 0)
  const none = r(IER) & 0x0f
  w(IER, 0x0f)
  const all = r(IER) & 0x0f
  w(IER, ier)
  if (none !== 0 || all !== 0x0f) return 'nothing there: IER'

  const mcr = r(MCR)
  w(MCR, 0x1a) // loop, OUT2, RTS
  const looped = r(MSR) & 0xf0
  w(MCR, mcr)
  if (looped !== 0x90) return 'nothing there: loopback'

  w(LCR, 0xbf)
  w(EFR, 0)
  w(LCR, 0)
  w(FCR, 0x01)
  const fifos = r(IIR) >> 6
  if (fifos === 0) return scratchWorks(bench) ? '16450' : '8250'
  if (fifos !== 3) return fifos === 2 ? '16550' : 'unknown'

  w(LCR, 0x80)
  if (r(EFR) === 0) return 'EFR v1'
  w(LCR, 0xbf)
  if (r(EFR) === 0) return 'EFR v2'

  w(LCR, 0)
  const loop = r(MCR) & 0x10
  w(LCR, 0xe0) // bank 2 of a National SuperIO, where LOOP is mirrored
  if (((r(2) ^ loop) & 0x10) === 0) {
    w(LCR, 0)
    w(MCR, loop ^ 0x10)
    w(LCR, 0xe0)
    const mirrored = (r(2) ^ loop) & 0x10
    w(LCR, 0)
    w(MCR, loop)
    if (mirrored) return 'NS16550A'
  }

  w(LCR, 0)
  w(FCR, 0x21)
  const plain = r(IIR) >> 5
  w(FCR, 0x01)
  w(LCR, 0x80)
  w(FCR, 0x21)
  const withDlab = r(IIR) >> 5
  w(FCR, 0x01)
  w(LCR, 0)
  if (plain === 6 && withDlab === 7) return '16750'

  const saved = r(IER)
  w(IER, saved | 0x40)
  if (r(IER) & 0x40) return 'XScale'
  w(IER, saved)

  return fifoSize(bench) === 64 ? 'U6 16550A' : '16550A'
}

function scratchWorks(bench: Bench): boolean {
  return [0xa5, 0x5a].every((value) => {
    bench.w(SCR, value)
    return bench.r(SCR) === value
  })
}

/** size_fifo(): 256 bytes into the looped transmitter; how many come back? */
function fifoSize(bench: Bench): number {
  const lcr = bench.r(LCR)
  bench.w(LCR, 0)
  const fcr = bench.r(FCR) // IIR, in truth; c1 is a sane FCR too
  const mcr = bench.r(MCR)
  bench.w(FCR, 0x07)
  bench.w(MCR, 0x10)
  bench.w(LCR, 0x80)
  const divisor = [bench.r(DLL), bench.r(DLM)] as const
  bench.w(DLL, 1)
  bench.w(DLM, 0)
  bench.w(LCR, 0x03)
  for (let i = 0; i < 256; i++) bench.w(THR, i)
  let count = 0
  for (; bench.r(LSR) & 0x01 && count < 256; count++) bench.r(RBR)
  bench.w(FCR, fcr)
  bench.w(MCR, mcr)
  bench.w(LCR, 0x80)
  bench.w(DLL, divisor[0])
  bench.w(DLM, divisor[1])
  bench.w(LCR, lcr)
  return count
}

test('Linux autoconfig takes it for a 16550A', () => {
  const bench = new Bench()
  assert.equal(autoconfig(bench), '16550A')
  assert.deepEqual(bench.line.output, [], 'nothing of the probing reaches the line')
  assert.equal(autoconfig(bench), '16550A', 'again, from the state that it left')
})

test('Linux size_fifo counts 16', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  assert.equal(fifoSize(bench), 16)
})

test('Linux autoconfig_read_divisor_id finds no id in the divisor latch', () => {
  const bench = new Bench()
  bench.w(LCR, 0x80)
  bench.w(DLL, 0)
  bench.w(DLM, 0)
  assert.deepEqual([bench.r(DLL), bench.r(DLM)], [0, 0])
})

/**
 * reference/kernel-mdev-transcript.md section 7.6, literally: boot and probe; then open at 9600 8N1, ten bytes written,
 * looped back by the kernel's mtty, read, close.
 */
const TRACE = `
w MCR 00; r MSR b3; w FCR 01; w FCR 07; w FCR 00; r LSR 60; r RX 00; r IIR c1; r MSR b3; r LSR 60; r LSR 60;
w IER 02; r IIR c2; w IER 00; w IER 02; r IIR c2; w IER 00; r IIR c1; w LCR 03; w MCR 08; w IER 02; r LSR 60;
r IIR c2; w IER 00; r LSR 60; r IIR c1; r RX 00; r IIR c1; r MSR b3; w IER 05; w LCR 93; w DLL 0c; w DLM 00;
w LCR 13; w FCR 01; w FCR 81; w MCR 08; w MCR 0b; r LSR 60; r LSR 60; w MCR 08; w IER 00; w IER 00; w MCR 00;
r LCR 13; w LCR 13; w FCR 01; w FCR 07; w FCR 00; r RX 00; w FCR 01; w FCR 07; w FCR 00; r LSR 60; r RX 00;
r IIR c1; r MSR b3; r LSR 60; r LSR 60; w IER 02; r IIR c2; w IER 00; w IER 02; r IIR c2; w IER 00; w LCR 03;
w MCR 08; w IER 02; r LSR 60; r IIR c2; w IER 00; r LSR 60; r IIR c1; r RX 00; r IIR c1; r MSR b3; w IER 05;
w LCR 93; w DLL 0c; w DLM 00; w LCR 13; w FCR 01; w FCR 81; w MCR 08; w MCR 0b; w IER 07; r IIR c2; r LSR 60;
r MSR b3; w TX 6c; w TX 6f; w TX 6f; w TX 70; w TX 20; w TX 62; w TX 61; w TX 63; w TX 6b; w TX 21; w IER 05;
r IIR c4; r LSR 01; r RX 6c; r LSR 01; r RX 6f; r LSR 01; r RX 6f; r LSR 01; r RX 70; r LSR 01; r RX 20;
r LSR 01; r RX 62; r LSR 01; r RX 61; r LSR 01; r RX 63; r LSR 01; r RX 6b; r LSR 01; r RX 21; r LSR 60;
r MSR b3; r IIR c1; r LSR 60; w MCR 08; w IER 00; w IER 00; w MCR 00; r LCR 13; w LCR 13; w FCR 01; w FCR 07;
w FCR 00; r RX 00; r MSR b3`
const OFFSETS: Readonly<Record<string, number>> = {
  RX: 0,
  TX: 0,
  DLL,
  DLM,
  IER,
  IIR,
  FCR,
  LCR,
  MCR,
  LSR,
  MSR,
}

/** What a real 16550A answers where the kernel's sample answers `value`. */
function real(register: string, value: number, fifos: boolean): number {
  // The sample says "FIFOs enabled" whatever FCR says.
  if (register === 'IIR') return fifos ? value : value & 0x3f
  // The sample always claims that DSR and CTS have just changed.
  if (register === 'MSR') return value & 0xf0
  // The sample calls the transmitter empty only while nothing waits in its one FIFO; ours has sent everything.
  if (register === 'LSR') return value | 0x60
  return value
}

test('the register trace of 8250_pci on the kernel mtty gets the answers of a real 16550A', () => {
  const irq = { set() {} }
  const uart = new Uart16550(irq, new LoopbackPort())
  let fifos = false
  const accesses = TRACE.trim().split(/;\s*/)
  assert.equal(accesses.length, 136)
  for (const [index, access] of accesses.entries()) {
    const [direction = '', register = '', hex = ''] = access.split(' ')
    const value = Number.parseInt(hex, 16)
    const offset = OFFSETS[register] ?? assert.fail(access)
    if (direction === 'w') {
      uart.write(offset, value)
      if (register === 'FCR') fifos = (value & 0x01) !== 0
    } else {
      assert.equal(uart.read(offset), real(register, value, fifos), `access ${index}: ${access}`)
    }
  }
  uart.close()
})
