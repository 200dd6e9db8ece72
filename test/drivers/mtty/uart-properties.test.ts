import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { LoopbackPort } from '../../../drivers/mtty/port-loopback.ts'
import { Uart16550 } from '../../../drivers/mtty/uart-16550.ts'
import { Bench, FCR, IER, IIR, LSR, RBR, run, THR } from './support.ts'

const chunk = fc.uint8Array({ minLength: 1, maxLength: 60 })
const fcr = fc.constantFrom(0x00, 0x01, 0x41, 0x81, 0xc1)

test('no interleaving of input and polling reads loses or reorders a byte', () => {
  const step = fc.oneof(chunk, fc.nat(40)) // the far end sends; the guest reads so many times
  fc.assert(
    fc.property(fcr, fc.array(step, { maxLength: 50 }), (mode, steps) => {
      const bench = new Bench()
      bench.w(FCR, mode)
      const sent: number[] = []
      const read: number[] = []
      for (const step of steps) {
        if (typeof step === 'number') {
          for (let i = 0; i < step; i++) if (bench.r(LSR) & 0x01) read.push(bench.r(RBR))
        } else {
          sent.push(...step)
          bench.line.type(...step)
        }
      }
      read.push(...bench.readAll())
      assert.deepEqual(read, sent)
    }),
  )
})

test('an interrupt-driven guest gets all input, the last below the trigger level by time-out', () => {
  fc.assert(
    fc.property(fcr, fc.array(chunk, { maxLength: 20 }), (mode, chunks) => {
      const bench = new Bench()
      bench.w(FCR, mode)
      bench.w(IER, 0x05)
      const read: number[] = []
      const serve = () => {
        while (bench.irq.asserted) {
          assert.notEqual(bench.r(IIR) & 0x0f, 0x06, 'no error')
          read.push(bench.r(RBR))
        }
      }
      for (const chunk of chunks) {
        bench.line.type(...chunk)
        serve()
      }
      // one byte a time-out at worst, at most 13 bytes below the highest trigger level
      for (let i = 0; i < 13 || bench.line.input.length > 0; i++) {
        bench.clock.advance(1000)
        serve()
      }
      assert.deepEqual(
        read,
        chunks.flatMap((chunk) => [...chunk]),
      )
      assert.equal(bench.clock.running, 0)
    }),
  )
})

test('a guest that heeds THRE loses and reorders nothing, however few bytes the far end takes', () => {
  const step = fc.oneof(chunk, fc.nat(20)) // the guest wants to send; the far end takes so many
  fc.assert(
    fc.property(fcr, fc.array(step, { maxLength: 50 }), (mode, steps) => {
      const bench = new Bench()
      bench.w(FCR, mode)
      bench.line.room = 0
      const burst = mode & 0x01 ? 16 : 1
      const wanted: number[] = []
      let written = 0
      const serve = () => {
        while (written < wanted.length && bench.r(LSR) & 0x20) {
          bench.w(THR, ...wanted.slice(written, written + burst))
          written = Math.min(written + burst, wanted.length)
        }
      }
      for (const step of steps) {
        if (typeof step === 'number') bench.line.take(step)
        else wanted.push(...step)
        serve()
      }
      bench.line.take(Number.POSITIVE_INFINITY)
      serve()
      assert.deepEqual(bench.line.output, wanted)
      assert.equal(bench.r(LSR), 0x60, 'and there was no overrun')
    }),
  )
})

test('a guest that writes and reads at random cannot lose what LoopbackPort sends back', () => {
  fc.assert(
    fc.property(
      fcr,
      fc.array(fc.tuple(fc.nat(16), fc.nat(40)), { maxLength: 50 }),
      (mode, steps) => {
        const uart = new Uart16550({ set() {} }, new LoopbackPort())
        uart.write(FCR, mode)
        let sent = 0
        const read: number[] = []
        const readSome = (count: number) => {
          for (let i = 0; i < count && uart.read(LSR) & 0x01; i++) read.push(uart.read(RBR))
        }
        for (const [writes, reads] of steps) {
          for (let i = 0; i < writes && uart.read(LSR) & 0x20; i++) uart.write(THR, sent++)
          readSome(reads)
        }
        readSome(Number.POSITIVE_INFINITY)
        assert.deepEqual(read, run(0, sent))
        uart.close()
      },
    ),
  )
})
