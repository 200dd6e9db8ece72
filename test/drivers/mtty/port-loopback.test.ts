import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LoopbackPort } from '../../../drivers/mtty/port-loopback.ts'
import { Uart16550 } from '../../../drivers/mtty/uart-16550.ts'
import { FCR, IER, LCR, LSR, MSR, RBR, run, THR } from './support.ts'

function loopbackUart(): Uart16550 {
  const uart = new Uart16550({ set() {} }, new LoopbackPort())
  uart.write(FCR, 0x01)
  return uart
}

test('LoopbackPort sends back 100 kB without loss, in bursts of 16 as Linux writes them', () => {
  const uart = loopbackUart()
  const sent = Buffer.from(run(0, 100_000))
  const received = Buffer.alloc(sent.length)
  let written = 0
  let read = 0
  while (read < sent.length) {
    if (uart.read(LSR) & 0x20) {
      for (const byte of sent.subarray(written, written + 16)) uart.write(THR, byte)
      written = Math.min(written + 16, sent.length)
    }
    assert.ok(uart.read(LSR) & 0x01, `a byte is there after ${read}`)
    received[read++] = uart.read(RBR)
  }
  assert.ok(received.equals(sent))
  assert.equal(uart.read(LSR), 0x60)
  uart.close()
})

test('LoopbackPort makes a guest that does not read wait', () => {
  const uart = loopbackUart()
  let written = 0
  for (; uart.read(LSR) & 0x20 && written < 1000; written++) uart.write(THR, written)
  assert.equal(written, 18, '16 in the receiver, one under way, one in the transmitter')
  assert.equal(uart.read(LSR), 0x01)
  for (let byte = 0; byte < 18; byte++) assert.equal(uart.read(RBR), byte)
  assert.equal(uart.read(LSR), 0x60)
  uart.close()
})

test('LoopbackPort lets a waiting guest go on as soon as it has read one byte', () => {
  const irq = { asserted: false, set: (asserted: boolean) => void (irq.asserted = asserted) }
  const uart = new Uart16550(irq, new LoopbackPort())
  uart.write(FCR, 0x01)
  uart.write(IER, 0x02)
  for (const byte of run(0, 18)) uart.write(THR, byte)
  assert.equal(irq.asserted, false)
  uart.read(RBR)
  assert.equal(irq.asserted, true)
  uart.close()
})

test('LoopbackPort is always there', () => {
  const uart = loopbackUart()
  assert.equal(uart.read(MSR), 0xb0)
  uart.close()
})

test('LoopbackPort sends a break back, once, after what was sent before', () => {
  const uart = loopbackUart()
  uart.write(THR, 0x41)
  uart.write(LCR, 0x43)
  uart.write(LCR, 0x43)
  uart.write(LCR, 0x03)
  assert.deepEqual([uart.read(LSR), uart.read(RBR)], [0xe1, 0x41])
  assert.deepEqual([uart.read(LSR), uart.read(RBR)], [0xf1, 0x00])
  assert.equal(uart.read(LSR), 0x60)
  uart.close()
})

test('LoopbackPort gives the next guest nothing of the last', () => {
  const uart = loopbackUart()
  for (const byte of run(0, 18)) uart.write(THR, byte)
  uart.reset('disconnect')
  assert.equal(uart.read(LSR), 0x60)
  uart.close()
})
