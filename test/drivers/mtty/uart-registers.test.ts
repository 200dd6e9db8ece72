import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  Bench,
  DLL,
  DLM,
  FCR,
  IER,
  IIR,
  LCR,
  LSR,
  MCR,
  MSR,
  RBR,
  run,
  SCR,
  THR,
} from './support.ts'

test('Uart16550 powers on as the data sheet says', () => {
  // PC16550D, table "UART Reset Configuration": IER, LCR, MCR 0; IIR 01; LSR 60; MSR low nibble 0, high nibble the inputs
  const bench = new Bench()
  const values = [RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR].map((offset) => bench.r(offset))
  assert.deepEqual(values, [0, 0, 0x01, 0, 0, 0x60, 0xb0, 0])
  assert.equal(bench.irq.asserted, false)
})

test('Uart16550 keeps what is written to registers that read back, as far as their bits exist', () => {
  const bench = new Bench()
  for (const value of [0x00, 0xff, 0xa5, 0x5a]) {
    bench.w(SCR, value)
    assert.equal(bench.r(SCR), value)
    bench.w(MCR, value)
    assert.equal(bench.r(MCR), value & 0x1f, 'MCR bits 7 to 5 are permanently 0')
    bench.w(LCR, value)
    assert.equal(bench.r(LCR), value)
    bench.w(LCR, 0)
    bench.w(IER, value)
    assert.equal(bench.r(IER), value & 0x0f, 'IER bits 7 to 4 are always 0')
  }
})

test('Uart16550 ignores writes to LSR and MSR', () => {
  const bench = new Bench()
  bench.w(LSR, 0xff)
  bench.w(MSR, 0xff)
  assert.equal(bench.r(LSR), 0x60)
  assert.equal(bench.r(MSR), 0xb0)
})

test('Uart16550 reaches the divisor latch at offsets 0 and 1 while DLAB is set, and nothing else', () => {
  const bench = new Bench()
  bench.w(IER, 0x05)
  bench.line.type(0x41)
  bench.w(LCR, 0x83)
  bench.w(DLL, 0xff)
  bench.w(DLM, 0xff)
  bench.w(DLL, 0x0c) // the kernel's mtty would OR this to what is there
  bench.w(DLM, 0x00)
  assert.equal(bench.r(DLL), 0x0c)
  assert.equal(bench.r(DLM), 0x00)
  bench.w(DLM, 0x12)
  assert.equal(bench.r(DLL), 0x0c)
  assert.equal(bench.r(DLM), 0x12)
  assert.deepEqual(bench.line.output, [], 'nothing is sent')

  bench.w(LCR, 0x03)
  assert.equal(bench.r(IER), 0x05)
  assert.equal(bench.r(RBR), 0x41, 'the received byte is still there')
  bench.w(LCR, 0x83)
  assert.equal(bench.r(DLM), 0x12, 'LCR does not clear the latch')
})

test('IIR bits 7 and 6 say whether FIFOs are enabled', () => {
  const bench = new Bench()
  assert.equal(bench.r(IIR), 0x01)
  bench.w(FCR, 0x01)
  assert.equal(bench.r(IIR), 0xc1)
  bench.w(FCR, 0x21) // a 16750 would go to 64 bytes and set bit 5
  assert.equal(bench.r(IIR), 0xc1)
  bench.w(FCR, 0x00)
  assert.equal(bench.r(IIR), 0x01)
})

test('FCR clears the receive FIFO by bit 1, the transmit FIFO by bit 2, and only with bit 0', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.line.room = 0
  bench.w(THR, ...run(1, 3))
  bench.line.type(7, 8, 9)
  bench.w(FCR, 0x06)
  assert.equal(bench.r(IIR), 0x01, 'without bit 0 it turns the FIFOs off')
  bench.line.type(7)
  bench.w(FCR, 0x06)
  assert.equal(bench.r(LSR), 0x61, 'and then clears nothing')

  bench.w(FCR, 0x01)
  bench.w(THR, ...run(1, 3))
  bench.line.type(7, 8, 9)
  bench.w(FCR, 0x03)
  assert.equal(bench.r(LSR), 0x00, 'receiver empty, transmitter not')
  bench.line.type(7, 8, 9)
  bench.w(FCR, 0x05)
  assert.equal(bench.r(LSR), 0x61, 'transmitter empty, receiver not')
  bench.line.take(100)
  assert.deepEqual(bench.line.output, [], 'what was cleared is not sent')
})

test('turning FIFOs on or off clears both', () => {
  for (const [from, to] of [
    [0x00, 0x01],
    [0x01, 0x00],
  ] as const) {
    const bench = new Bench()
    bench.w(FCR, from)
    bench.line.room = 0
    bench.w(THR, 1)
    bench.line.type(7)
    assert.equal(bench.r(LSR), 0x01)
    bench.w(FCR, to)
    assert.equal(bench.r(LSR), 0x60)
    bench.w(FCR, to)
    bench.line.type(8)
    bench.w(FCR, to)
    assert.equal(bench.r(LSR), 0x61, 'writing the same mode again clears nothing')
  }
})

test('FIFOs hold 16 bytes, one byte each when they are off', () => {
  for (const [fcr, depth] of [
    [0x00, 1],
    [0x01, 16],
  ] as const) {
    const bench = new Bench()
    bench.w(FCR, fcr)
    bench.line.room = 0
    bench.w(THR, ...run(0, depth))
    assert.equal(bench.r(LSR), 0x00, 'no overrun yet')
    bench.line.type(...run(0, 100))
    assert.equal(bench.line.input.length, 100 - depth)
  }
})

test('RBR reads 0 when there is nothing', () => {
  const bench = new Bench()
  bench.line.type(0x41)
  assert.equal(bench.r(RBR), 0x41)
  assert.equal(bench.r(RBR), 0)
})
