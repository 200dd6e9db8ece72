import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bench, FCR, IER, IIR, LCR, LSR, MCR, MSR, RBR, run, THR } from './support.ts'

const BREAK = 0x1000 // a zero byte with LSR bit 4 (BI) above it
const FRAMING_ERROR = 0x0800

test('what is written to THR goes to the far end at once', () => {
  const bench = new Bench()
  bench.w(THR, 0x41)
  assert.equal(bench.r(LSR), 0x60)
  bench.w(THR, 0x142)
  assert.deepEqual(bench.line.output, [0x41, 0x42])
})

test('a guest that writes into a full transmitter loses that byte and sees an overrun', () => {
  for (const [fcr, depth] of [
    [0x00, 1],
    [0x01, 16],
  ] as const) {
    const bench = new Bench()
    bench.w(FCR, fcr)
    bench.w(IER, 0x04)
    bench.line.room = 0
    bench.w(THR, ...run(1, depth))
    assert.equal(bench.irq.asserted, false)
    bench.w(THR, 0xee)
    assert.equal(bench.irq.asserted, true)
    assert.equal(bench.r(LSR), 0x02)
    assert.equal(bench.r(LSR), 0x00, 'reading LSR clears it')
    bench.line.take(100)
    assert.deepEqual(bench.line.output, run(1, depth))
  }
})

test('reading RBR takes the next input from the far end at once', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.line.type(...run(0, 1000))
  assert.equal(bench.line.input.length, 1000 - 16)
  assert.equal(bench.r(RBR), 0)
  assert.equal(bench.line.input.length, 1000 - 17)
  assert.deepEqual(bench.readAll(), run(1, 999))
})

test('input stays with the far end until the guest looks', () => {
  const bench = new Bench()
  bench.line.type(1, 2, 3)
  assert.equal(bench.line.input.length, 3)
  assert.equal(bench.r(LSR), 0x61)
  assert.equal(bench.line.input.length, 2)
})

test('errors belong to their characters', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.line.type(0x41, FRAMING_ERROR | 0x42, 0x43, BREAK)
  const seen: [number, number][] = []
  for (let i = 0; i < 4; i++) seen.push([bench.r(LSR), bench.r(RBR)])
  assert.deepEqual(seen, [
    [0xe1, 0x41],
    [0xe9, 0x42],
    [0xe1, 0x43],
    [0xf1, 0x00],
  ])
  assert.equal(bench.r(LSR), 0x60)
})

test('an error that no read of LSR has seen outlives its character', () => {
  const bench = new Bench()
  bench.line.type(BREAK)
  bench.r(RBR)
  assert.equal(bench.r(LSR), 0x70)
  assert.equal(bench.r(LSR), 0x60)
})

test('LSR bit 7 is 0 while FIFOs are off', () => {
  const bench = new Bench()
  bench.line.type(BREAK)
  assert.equal(bench.r(LSR), 0x71)
})

test('clearing the receive FIFO forgets errors of its characters, not an overrun', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.line.room = 0
  bench.w(THR, ...run(0, 17))
  bench.line.type(BREAK, BREAK)
  bench.r(RBR)
  bench.w(FCR, 0x03)
  assert.equal(bench.r(LSR), 0x02)
})

test('LCR bit 6 sends a break for as long as it is set', () => {
  const bench = new Bench()
  bench.w(LCR, 0x43)
  bench.w(LCR, 0x43)
  bench.w(LCR, 0x03)
  assert.deepEqual(bench.line.breaks, [true, false])
})

test('modem inputs follow the far end, and deltas last until MSR is read', () => {
  const bench = new Bench()
  bench.w(IER, 0x08)
  assert.equal(bench.r(MSR), 0xb0)
  bench.line.setPresent(false)
  assert.equal(bench.r(IIR), 0x00)
  assert.equal(bench.r(MSR), 0x0b)
  assert.equal(bench.r(MSR), 0x00)
  assert.equal(bench.irq.asserted, false)
  bench.line.setPresent(true)
  bench.line.setPresent(false)
  assert.equal(bench.irq.asserted, true)
  assert.equal(bench.r(MSR), 0x0b, 'a change and back is still a change')
})

test('in loopback modem outputs are the inputs: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD', () => {
  const bench = new Bench()
  bench.w(MCR, 0x10)
  bench.r(MSR)
  const steps = [
    [0x11, 0x22],
    [0x10, 0x02],
    [0x12, 0x11],
    [0x10, 0x01],
    [0x14, 0x40], // RI counts when it ends
    [0x10, 0x04],
    [0x18, 0x88],
    [0x1f, 0xf3],
    [0x10, 0x0f],
    [0x00, 0xbb], // the far end is there again
  ] as const
  for (const [mcr, msr] of steps) {
    bench.w(MCR, mcr)
    assert.equal(bench.r(MSR), msr, `MCR ${mcr.toString(16)}`)
  }
})

test('in loopback nothing reaches the line, and the line reaches nothing', () => {
  const bench = new Bench()
  bench.w(FCR, 0x01)
  bench.w(MCR, 0x1b)
  bench.w(LCR, 0x43)
  bench.line.type(0x99)
  bench.line.setPresent(false)
  bench.w(THR, 0x41, 0x42)
  assert.deepEqual(bench.line.output, [])
  assert.deepEqual(bench.line.breaks, [])
  assert.equal(bench.line.rts, false, 'outputs are inactive')
  assert.equal(bench.r(MSR) & 0xf0, 0xb0, 'OUT2, DTR and RTS')
  assert.deepEqual(bench.readAll(), [0x41, 0x42])
  bench.w(MCR, 0x0b)
  assert.equal(bench.line.rts, true)
  assert.deepEqual(bench.line.breaks, [true])
  assert.deepEqual(bench.readAll(), [0x99], 'what came meanwhile has waited')
})

test('in loopback a full receiver is overrun: a FIFO keeps the old, a holding register the new', () => {
  for (const [fcr, kept] of [
    [0x01, run(0, 16)],
    [0x00, [19]],
  ] as const) {
    const bench = new Bench()
    bench.w(FCR, fcr)
    bench.w(MCR, 0x10)
    bench.w(THR, ...run(0, 20))
    assert.equal(bench.r(LSR), 0x63)
    assert.deepEqual(bench.readAll(), kept)
  }
})

test('the far end is told how the guest drives RTS, once it has said so', () => {
  const bench = new Bench()
  bench.w(LCR, 0x03)
  bench.r(MCR)
  bench.w(MCR, 0x02)
  assert.equal(bench.line.rts, true)
  bench.w(MCR, 0x09)
  assert.equal(bench.line.rts, false)
  bench.uart.reset('device')
  assert.equal(bench.line.rts, undefined)
})

/** A UART with everything different from power-on, a full transmitter and a full receiver. */
function usedBench(): Bench {
  const bench = new Bench()
  bench.w(LCR, 0x80)
  bench.w(0, 0x34, 0x55)
  bench.w(LCR, 0x5b)
  bench.w(FCR, 0xc1)
  bench.w(IER, 0x0f)
  bench.w(MCR, 0x0f)
  bench.w(7, 0x99)
  bench.line.room = 0
  bench.w(THR, ...run(1, 17))
  bench.line.type(BREAK, ...run(100, 30))
  bench.line.setPresent(false)
  return bench
}

for (const why of ['device', 'flr', 'disconnect'] as const) {
  test(`reset('${why}') is power-on`, () => {
    const bench = usedBench()
    assert.equal(bench.irq.asserted, true)
    bench.line.input = []
    bench.uart.reset(why)
    assert.equal(bench.irq.asserted, false)
    assert.deepEqual(bench.line.breaks, [true, false])
    const fresh = new Bench()
    fresh.line.setPresent(false)
    fresh.r(MSR)
    for (let offset = 0; offset < 8; offset++) {
      assert.equal(bench.r(offset), fresh.r(offset), `register ${offset}`)
    }
    bench.w(LCR, 0x80)
    fresh.w(LCR, 0x80)
    assert.equal(bench.r(0), fresh.r(0), 'divisor')
  })
}

test("reset('disconnect') leaves with the far end what was sent, and what was not read", () => {
  const bench = usedBench()
  bench.uart.reset('disconnect')
  assert.deepEqual(bench.line.unsent, run(1, 16))
  assert.deepEqual(bench.line.unread, [BREAK, ...run(100, 15)])
  assert.deepEqual(bench.line.input, run(115, 15), 'nothing is taken while no guest is there')
})

test("reset('device') drops both FIFOs", () => {
  const bench = usedBench()
  bench.uart.reset('device')
  bench.line.take(100)
  assert.deepEqual([bench.line.unsent, bench.line.unread, bench.line.output], [[], [], []])
  bench.w(FCR, 0x01)
  assert.deepEqual(bench.readAll(), run(115, 15))
})
