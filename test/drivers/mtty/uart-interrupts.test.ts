import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bench, DLL, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, run, THR } from './support.ts'

// PC16550D data sheet, table "Interrupt Control Functions": IIR values by priority are 06 receiver line status, 04
// received data available, 0c character time-out, 02 THR empty, 00 modem status; 01 is none. With FIFOs, c0 is added.
const BREAK = 0x1000 // a zero byte with LSR bit 4 above it
const PARITY_ERROR = 0x0400

/** Everything pending at once, FIFOs on, trigger level 1. */
function busyBench(): Bench {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.r(LSR)
  bench.line.type(BREAK, 0x41)
  bench.line.setPresent(false)
  bench.w(IER, 0x0f)
  return bench
}

test('IIR reports causes by priority, and each is cleared by what clears it', () => {
  const bench = busyBench()
  assert.equal(bench.r(IIR), 0xc6)
  assert.equal(bench.r(IIR), 0xc6, 'reading IIR does not clear it')
  assert.equal(bench.r(LSR), 0xf1, 'break, error in FIFO, THRE, TEMT, data ready')
  assert.equal(bench.r(IIR), 0xc4)
  bench.r(RBR)
  assert.equal(bench.r(IIR), 0xc4, 'one more byte')
  bench.r(RBR)
  assert.equal(bench.r(IIR), 0xc2)
  assert.equal(bench.r(IIR), 0xc0, 'reading IIR clears THRE, once it is the reported cause')
  assert.equal(bench.irq.asserted, true)
  assert.equal(bench.r(MSR), 0x0b, 'delta DCD, DSR and CTS')
  assert.equal(bench.r(IIR), 0xc1)
  assert.equal(bench.irq.asserted, false)
})

test('IIR reports only causes that IER enables', () => {
  const causes = [
    [0x00, 0xc1],
    [0x08, 0xc0],
    [0x02, 0xc2],
    [0x01, 0xc4],
    [0x04, 0xc6],
  ] as const
  for (const [ier, iir] of causes) {
    const bench = busyBench()
    bench.w(IER, 0)
    assert.equal(bench.irq.asserted, false)
    bench.w(IER, ier)
    assert.equal(bench.r(IIR), iir)
    assert.equal(bench.irq.asserted, ier !== 0 && ier !== 0x02, 'THRE went with the read')
  }
})

test('received data interrupts from the trigger level on', () => {
  for (const [fcr, level] of [
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ] as const) {
    const bench = new Bench()
    bench.w(FCR, fcr)
    bench.w(IER, 0x01)
    bench.line.type(...run(0, level - 1))
    assert.equal(bench.irq.asserted, false, `${level - 1} of ${level}`)
    bench.line.type(0xee)
    assert.equal(bench.irq.asserted, true, `${level} of ${level}`)
    assert.equal(bench.r(IIR), 0xc4)
    bench.r(RBR)
    assert.equal(bench.irq.asserted, false, 'it drops below the level again')
    assert.equal(bench.r(IIR), 0xc1)
  }
})

test('trigger levels do not count while FIFOs are off', () => {
  const bench = new Bench()
  bench.w(FCR, 0xc0)
  bench.w(IER, 0x01)
  bench.line.type(0x41)
  assert.equal(bench.r(IIR), 0x04)
})

// 9600 baud from 1.8432 MHz is divisor 12; a character of 8N1 takes 10 bits, so four take 40/9600 s.
const FOUR_CHARACTERS_MS = 40 / 9.6

function timeoutBench(fcr = 0x81): Bench {
  const bench = new Bench()
  bench.w(LCR, 0x83)
  bench.w(DLL, 12)
  bench.w(LCR, 0x03)
  bench.w(FCR, fcr)
  bench.w(IER, 0x01)
  return bench
}

test('characters below the trigger level time out after four character times', () => {
  const bench = timeoutBench()
  bench.line.type(1, 2)
  bench.clock.advance(FOUR_CHARACTERS_MS - 0.01)
  assert.equal(bench.r(IIR), 0xc1)
  bench.clock.advance(0.02)
  assert.equal(bench.irq.asserted, true)
  assert.equal(bench.r(IIR), 0xcc)
  assert.equal(bench.r(IIR), 0xcc, 'reading IIR does not clear it')
  bench.r(RBR)
  assert.equal(bench.r(IIR), 0xc1, 'reading RBR does')
  bench.clock.advance(FOUR_CHARACTERS_MS + 0.01)
  assert.equal(bench.r(IIR), 0xcc, 'and it comes again for what is left')
})

test('a received or read character starts the time-out anew', () => {
  const bench = timeoutBench()
  bench.line.type(1, 2)
  bench.clock.advance(FOUR_CHARACTERS_MS - 1)
  bench.line.type(3)
  bench.clock.advance(FOUR_CHARACTERS_MS - 1)
  assert.equal(bench.irq.asserted, false)
  bench.r(RBR)
  bench.clock.advance(FOUR_CHARACTERS_MS - 1)
  assert.equal(bench.irq.asserted, false)
  bench.clock.advance(2)
  assert.equal(bench.irq.asserted, true)
})

test('a steady trickle below the trigger level uses one timer at a time', () => {
  const bench = timeoutBench(0xc1)
  for (let i = 0; i < 1000; i++) {
    bench.line.type(i & 0xff)
    assert.equal(bench.clock.running, 1)
    bench.clock.advance(0.5)
    bench.r(RBR)
  }
  assert.equal(bench.clock.running, 0, 'nothing waits, no timer runs')
})

test('the time-out follows the frame and the divisor', () => {
  const cases = [
    { lcr: 0x03, bits: 10 }, // 8N1
    { lcr: 0x0f, bits: 12 }, // 8O2
    { lcr: 0x00, bits: 7 }, // 5N1
    { lcr: 0x04, bits: 7.5 }, // 5N1.5
  ]
  for (const { lcr, bits } of cases) {
    for (const divisor of [1, 12, 0x1234]) {
      const bench = timeoutBench()
      bench.w(LCR, lcr | 0x80)
      bench.w(DLL, divisor & 0xff)
      bench.w(1, divisor >> 8)
      bench.w(LCR, lcr)
      bench.line.type(1)
      const ms = (4 * bits * divisor * 16_000) / 1_843_200
      bench.clock.advance(ms * 0.999)
      assert.equal(bench.irq.asserted, false)
      bench.clock.advance(ms * 0.002)
      assert.equal(bench.irq.asserted, true)
    }
  }
})

test('no timer runs unless one is needed', () => {
  const needless: [string, (bench: Bench) => void][] = [
    ['IER does not ask', (bench) => bench.w(IER, 0x0e)],
    ['FIFOs are off', (bench) => bench.w(FCR, 0x00)],
    ['nothing waits', (bench) => bench.readAll()],
    ['the trigger level is reached', (bench) => bench.line.type(...run(0, 8))],
    ['it has timed out', (bench) => bench.clock.advance(1000)],
    ['the FIFO was cleared', (bench) => bench.w(FCR, 0x83)],
    ['the device was reset', (bench) => bench.uart.reset('device')],
    ['the device was removed', (bench) => bench.uart.close()],
  ]
  for (const [why, make] of needless) {
    const bench = timeoutBench()
    bench.line.type(1)
    assert.equal(bench.clock.running, 1)
    make(bench)
    assert.equal(bench.clock.running, 0, why)
  }
})

test('input without end lets an interrupt-driven guest out of its handler now and then', () => {
  // Linux serial8250_interrupt stays until there is no cause left: without rests it reported soft lockups
  const bench = timeoutBench()
  const sent = run(0, 1000)
  bench.line.type(...sent)
  const read: number[] = []
  let rests = 0
  while (read.length < sent.length) {
    const some = bench.readAll()
    assert.ok(some.length > 0 && some.length <= 128, `${some.length} at a time`)
    read.push(...some)
    if (read.length === sent.length) break
    assert.equal(bench.irq.asserted, false, 'out of the handler')
    assert.equal(bench.clock.running, 1)
    bench.clock.advance(2)
    assert.equal(bench.irq.asserted, true, 'and in again')
    rests++
  }
  assert.deepEqual(read, sent)
  assert.equal(rests, 7)
  assert.equal(bench.clock.running, 0)
})

test('input in small portions makes nobody rest', () => {
  const bench = timeoutBench()
  for (let i = 0; i < 100; i++) {
    bench.line.type(...run(0, 100))
    assert.equal(bench.readAll().length, 100)
    assert.equal(bench.clock.running, 0)
  }
})

test('a rest ends when the guest turns to polling, resets or goes', () => {
  const ends: ((bench: Bench) => void)[] = [
    (bench) => bench.w(IER, 0x04),
    (bench) => bench.uart.reset('device'),
    (bench) => bench.uart.close(),
  ]
  for (const end of ends) {
    const bench = timeoutBench()
    bench.line.type(...run(0, 1000))
    bench.readAll()
    assert.equal(bench.clock.running, 1)
    end(bench)
    assert.equal(bench.clock.running, 0)
    bench.w(IER, 0x00)
    assert.equal(bench.readAll().length, 1000 - 128)
  }
})

test('a time-out goes with the FIFO that is cleared', () => {
  const bench = timeoutBench()
  bench.line.type(1)
  bench.clock.advance(1000)
  assert.equal(bench.irq.asserted, true)
  bench.w(FCR, 0x83)
  assert.equal(bench.irq.asserted, false)
  bench.line.type(2)
  assert.equal(bench.irq.asserted, false)
})

test('THRE interrupts when IER comes to ask for it and the transmitter is empty', () => {
  // Linux serial8250_do_startup: without it the driver works around a bug by polling
  const bench = new Bench()
  for (let i = 0; i < 2; i++) {
    bench.w(IER, 0x02)
    assert.equal(bench.irq.asserted, true)
    assert.equal(bench.r(IIR), 0x02)
    assert.equal(bench.irq.asserted, false)
    assert.equal(bench.r(IIR), 0x01)
    bench.w(IER, 0x02)
    assert.equal(bench.r(IIR), 0x01, 'it asked already')
    bench.w(IER, 0x00)
  }
})

test('THRE waits until the far end has taken everything', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.w(IER, 0x02)
  bench.line.room = 2
  bench.w(THR, ...run(0, 4))
  assert.equal(bench.r(LSR), 0x00)
  assert.equal(bench.irq.asserted, false)
  bench.w(IER, 0x00)
  bench.w(IER, 0x02)
  assert.equal(bench.irq.asserted, false, 'asking does not make it empty')
  bench.line.take(1)
  assert.equal(bench.irq.asserted, false)
  bench.line.take(1)
  assert.equal(bench.irq.asserted, true)
  assert.equal(bench.r(LSR), 0x60)
  assert.equal(bench.r(IIR), 0xc2)
})

test('writing THR clears THRE', () => {
  const bench = new Bench()
  bench.w(IER, 0x02)
  bench.line.room = 0
  bench.w(THR, 0x41)
  assert.equal(bench.r(IIR), 0x01)
  bench.line.take(1)
  assert.equal(bench.r(IIR), 0x02)
})

test('clearing a transmit FIFO that was not empty interrupts as empty', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.w(IER, 0x02)
  bench.line.room = 0
  bench.w(THR, 0x41)
  assert.equal(bench.irq.asserted, false)
  bench.w(FCR, 0x05)
  assert.equal(bench.r(IIR), 0xc2)
})

test('an error interrupts when its character is the oldest', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.w(IER, 0x04)
  bench.line.type(0x41, PARITY_ERROR | 0x42)
  assert.equal(bench.irq.asserted, false)
  assert.equal(bench.r(LSR), 0xe1, 'only bit 7 tells that an error is in the FIFO')
  bench.r(RBR)
  assert.equal(bench.r(IIR), 0xc6)
  assert.equal(bench.r(LSR), 0xe5)
  assert.equal(bench.irq.asserted, false)
  assert.equal(bench.r(LSR), 0x61, 'LSR was read: the error is gone, the character is not')
  assert.equal(bench.r(RBR), 0x42)
})

test('the interrupt does not depend on OUT2', () => {
  const bench = new Bench()
  bench.w(IER, 0x02)
  bench.w(MCR, 0x08)
  assert.equal(bench.irq.asserted, true)
  bench.w(MCR, 0x00)
  assert.equal(bench.irq.asserted, true)
})
