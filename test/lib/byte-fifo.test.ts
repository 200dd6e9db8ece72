/** The byte queue, against an array. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { ByteFifo } from '../../src/lib/byte-fifo.ts'

/** One call on the queue, and what it must answer according to the array, which it changes alike. */
type Call = {
  readonly on: (fifo: ByteFifo) => unknown
  readonly model: (bytes: number[]) => unknown
}

const CAPACITY = 5

const call = fc.oneof(
  fc.integer({ min: -300, max: 600 }).map((byte): Call => ({
    on: (fifo) => fifo.push(byte),
    model: (bytes) => bytes.length < CAPACITY && bytes.push(byte & 0xff) > 0,
  })),
  fc.constant<Call>({ on: (fifo) => fifo.shift(), model: (bytes) => bytes.shift() ?? 0 }),
  fc.constant<Call>({ on: (fifo) => fifo.peek(), model: (bytes) => bytes[0] ?? 0 }),
  {
    weight: 1,
    arbitrary: fc.constant<Call>({
      on: (fifo) => fifo.clear(),
      model: (bytes) => void bytes.splice(0),
    }),
  },
)

describe('ByteFifo', () => {
  test('does what a bounded array of bytes does', () => {
    fc.assert(
      fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
        const fifo = new ByteFifo(CAPACITY)
        const bytes: number[] = []
        for (const { on, model } of calls) {
          assert.equal(on(fifo), model(bytes))
          assert.equal(fifo.length, bytes.length)
          assert.equal(fifo.room, CAPACITY - bytes.length)
        }
        while (fifo.length > 0) assert.equal(fifo.shift(), bytes.shift())
      }),
    )
  })

  test('keeps order when it wraps around', () => {
    const fifo = new ByteFifo(3)
    for (let byte = 0; byte < 10; byte++) {
      fifo.push(byte)
      if (byte > 0) assert.equal(fifo.shift(), byte - 1)
    }
    assert.equal(fifo.peek(), 9)
  })

  test('refuses a byte when full, and keeps what it has', () => {
    const fifo = new ByteFifo(2)
    assert.deepEqual([fifo.push(1), fifo.push(2), fifo.push(3)], [true, true, false])
    assert.deepEqual([fifo.room, fifo.shift(), fifo.shift(), fifo.shift()], [0, 1, 2, 0])
  })

  test('of no capacity takes nothing', () => {
    const fifo = new ByteFifo(0)
    assert.equal(fifo.push(1), false)
    assert.deepEqual([fifo.length, fifo.room, fifo.peek(), fifo.shift()], [0, 0, 0, 0])
  })
})
