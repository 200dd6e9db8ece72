/** The DMA engine, driven through mdevkit's own client, over memory of every kind. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dmaEngine } from '../../examples/dma-engine.ts'
import { openFds } from '../support/fds.ts'
import { Served } from '../support/vfio-user-served.ts'
import {
  BAD_LENGTH,
  BAD_OPCODE,
  BAD_RING,
  BAD_SIZE,
  BAD_TAIL,
  BAR,
  CHECKSUM,
  CONTROL,
  COPY,
  DATA_IOVA,
  DATA_SIZE,
  DONE,
  EngineClient,
  FAULT,
  FILL,
  HEAD,
  INTERRUPT,
  MEMORIES,
  MIB,
  RING,
  RING_FAULT,
  RING_HIGH,
  RUNNING,
  SIZE,
  STATUS,
  STOPPED,
  TAIL,
} from './engine-client.ts'

/** Bytes that tell where they come from. */
function pattern(length: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 7 + seed) % 251))
}

/** As many of them as a ring of 16 takes. */
function fullRing(descriptor: { opcode: number; length: number }) {
  return Array.from({ length: 15 }, () => descriptor)
}

const FILL_WITH_ONES = { opcode: FILL, length: MIB, destination: DATA_IOVA, value: 1 }
const COPY_UP = { opcode: COPY, length: MIB, source: DATA_IOVA, destination: DATA_IOVA + 2 * MIB }
const ADD_UP = { opcode: CHECKSUM, length: MIB, source: DATA_IOVA }

for (const memory of MEMORIES) {
  test(`dma-engine, ${memory}: copies, fills and adds up any length, and touches nothing beside it`, async () => {
    using served = await Served.start(dmaEngine)
    using engine = await EngineClient.attach(served, memory)
    const [source, destination] = [DATA_IOVA + 1, DATA_IOVA + 2 * MIB + 1]
    for (const length of [1, 4095, 65_536, 65_537, MIB]) {
      const [from, to] = [pattern(MIB + 2, length), Buffer.alloc(MIB + 2, 0xee)]
      engine.data.write(0, from)
      engine.data.write(2 * MIB, to)
      const sum = from.subarray(1, 1 + length).reduce((total, byte) => total + byte, 0)
      const results = await engine.run(
        { opcode: CHECKSUM, length, source, value: 5 },
        { opcode: COPY, length, source, destination, value: 6 },
      )
      assert.deepEqual(results, [
        [sum, DONE],
        [6, DONE],
      ])
      from.copy(to, 1, 1, 1 + length)
      assert.deepEqual(engine.data.read(2 * MIB, MIB + 2), to)

      const [result] = await engine.run({ opcode: FILL, length, destination, value: 0x1a5 })
      assert.deepEqual(result, [0x1a5, DONE])
      assert.deepEqual(engine.data.read(2 * MIB, MIB + 2), to.fill(0xa5, 1, 1 + length))
      assert.deepEqual(engine.data.read(0, MIB + 2), from)
    }
  })

  test(`dma-engine, ${memory}: goes around its ring and tells how far it is`, async () => {
    using served = await Served.start(dmaEngine)
    using engine = await EngineClient.attach(served, memory, 4)
    for (let round = 0; round < 10; round++) {
      const values = [3 * round, 3 * round + 1, 3 * round + 2]
      const results = await engine.run(
        ...values.map((value, index) => ({
          opcode: FILL,
          length: 1,
          destination: DATA_IOVA + index,
          value,
        })),
      )
      assert.deepEqual(
        results,
        values.map((value) => [value, DONE]),
      )
      assert.deepEqual([...engine.data.read(0, 3)], values)
      assert.equal(await engine.get(HEAD), (3 * round + 3) % 4)
    }
  })

  test(`dma-engine, ${memory}: does what comes while it works`, async () => {
    using served = await Served.start(dmaEngine)
    using engine = await EngineClient.attach(served, memory, 64)
    const length = 100_000
    for (let value = 0; value <= 40; value++) {
      const job = { opcode: FILL, length, destination: DATA_IOVA + value * length, value }
      await engine.submit([job], value === 40 ? 0 : undefined)
    }
    await engine.interrupts.next()
    for (let value = 0; value <= 40; value++) {
      assert.deepEqual(engine.data.read(value * length, length), Buffer.alloc(length, value))
    }
  })

  test(`dma-engine, ${memory}: says what is wrong with a descriptor, and goes on`, async () => {
    using served = await Served.start(dmaEngine)
    using engine = await EngineClient.attach(served, memory)
    const job = { length: 1, source: DATA_IOVA, destination: DATA_IOVA, value: 9 }
    const outside = 0x5000_0000
    const cases = [
      [{ ...job, opcode: 0 }, BAD_OPCODE],
      [{ ...job, opcode: 4 }, BAD_OPCODE],
      [{ ...job, opcode: 0xffff }, BAD_OPCODE],
      [{ ...job, opcode: FILL, length: 0 }, BAD_LENGTH],
      [{ ...job, opcode: FILL, length: MIB + 1 }, BAD_LENGTH],
      [{ ...job, opcode: FILL, length: 0xffff_ffff }, BAD_LENGTH],
      [{ ...job, opcode: FILL, destination: outside }, FAULT],
      [{ ...job, opcode: COPY, source: outside }, FAULT],
      [{ ...job, opcode: COPY, destination: outside }, FAULT],
      [{ ...job, opcode: CHECKSUM, source: outside }, FAULT],
      [{ ...job, opcode: CHECKSUM, length: 2, source: DATA_IOVA + DATA_SIZE - 1 }, FAULT],
      [{ ...job, opcode: CHECKSUM, length: MIB, source: 2 ** 64 - MIB }, FAULT],
      [{ ...job, opcode: COPY }, DONE],
    ] as const
    const results = await engine.run(...cases.map(([descriptor]) => descriptor))
    assert.deepEqual(
      results,
      cases.map(([, status]) => [9, status]),
    )
    assert.deepEqual(engine.data.read(0, 4096), Buffer.alloc(4096))
    assert.equal(await engine.get(STATUS), RUNNING)
  })

  test(`dma-engine, ${memory}: survives that its memory is unmapped while it works`, async () => {
    using served = await Served.start(dmaEngine)
    using engine = await EngineClient.attach(served, memory)
    const slots = await engine.submit(fullRing(COPY_UP), 14)
    await engine.data.unmap()
    await engine.interrupts.next()
    const statuses = slots.map((slot) => engine.result(slot)[1])
    const done = statuses.filter((status) => status === DONE).length
    assert.ok(done < 15)
    assert.deepEqual(
      statuses,
      statuses.map((_, index) => (index < done ? DONE : FAULT)),
    )
    assert.equal(await engine.get(STATUS), RUNNING)
  })

  for (const how of ['reset', 'stopped'] as const) {
    test(`dma-engine, ${memory}: leaves memory alone once it was ${how} while it worked`, async () => {
      using served = await Served.start(dmaEngine)
      using engine = await EngineClient.attach(served, memory)
      await engine.submit(fullRing(FILL_WITH_ONES), 0)
      await engine.interrupts.next()
      if (how === 'reset') {
        await engine.client.reset()
        const registers = await engine.client.read(BAR, 0, 4096)
        assert.ok(registers.every((byte) => byte === 0))
        await engine.masterBus(true)
      } else {
        await engine.set(CONTROL, 0)
        assert.equal(await engine.get(STATUS), STOPPED)
        assert.ok((await engine.get(HEAD)) < 15)
      }
      const expected = pattern(MIB, 3)
      engine.data.write(0, expected)
      await engine.start()
      await engine.run(...fullRing(ADD_UP)) // as long as the rest would have taken
      assert.deepEqual(engine.data.read(0, MIB), expected)
      assert.equal(await engine.get(HEAD), 15)
    })
  }

  test(`dma-engine, ${memory}: leaves the next client’s memory alone when one goes while it works`, async () => {
    using served = await Served.start(dmaEngine)
    {
      using engine = await EngineClient.attach(served, memory)
      await engine.submit(fullRing(FILL_WITH_ONES), 0)
      await engine.interrupts.next()
    }
    await served.idle()
    using engine = await EngineClient.attach(served, memory)
    await engine.run(...fullRing(ADD_UP))
    assert.deepEqual(engine.data.read(0, MIB), Buffer.alloc(MIB))
    const errors = served.lines.filter((line) => line.startsWith('error'))
    assert.deepEqual(errors, [])
  })
}

test('dma-engine may not write what is mapped to be read, nor a ring there', async () => {
  using served = await Served.start(dmaEngine)
  using engine = await EngineClient.attach(served)
  const iova = DATA_IOVA + DATA_SIZE
  const memory = await engine.map(iova, 4096, 1)
  memory.write(0, Buffer.from('read'))
  const results = await engine.run(
    { opcode: FILL, length: 1, destination: iova },
    { opcode: COPY, length: 4, source: iova, destination: DATA_IOVA },
  )
  assert.deepEqual(
    results.map(([, status]) => status),
    [FAULT, DONE],
  )
  assert.equal(engine.data.read(0, 4).toString(), 'read')

  await engine.pointRing(iova)
  await engine.set(CONTROL, 1)
  await engine.set(TAIL, 1)
  await engine.interrupts.next()
  assert.equal(await engine.get(STATUS), RING_FAULT)
  assert.equal(memory.read(0, 4).toString(), 'read')
})

/** A register's name, its offset, a value for it, and what STATUS says when the engine is started and the bell rung. */
const BAD_RINGS = [
  ['RING', RING, 16, BAD_RING],
  ['RING', RING, 1, BAD_RING],
  ['RING', RING, 0x8000_0000, RING_FAULT],
  ['RING_HIGH', RING_HIGH, 0xffff_ffff, RING_FAULT],
  ['SIZE', SIZE, 0, BAD_SIZE],
  ['SIZE', SIZE, 1, BAD_SIZE],
  ['SIZE', SIZE, 3, BAD_SIZE],
  ['SIZE', SIZE, 8192, BAD_SIZE],
  ['SIZE', SIZE, 0x8000_0000, BAD_SIZE],
  ['TAIL', TAIL, 16, BAD_TAIL],
  ['TAIL', TAIL, 0xffff_ffff, BAD_TAIL],
] as const

for (const [name, register, value, status] of BAD_RINGS) {
  test(`dma-engine stops with status ${status} at ${name} ${value}, interrupts, and can be started again`, async () => {
    using served = await Served.start(dmaEngine)
    using engine = await EngineClient.attach(served)
    if (register !== TAIL) await engine.set(register, value)
    await engine.set(CONTROL, 1)
    await engine.set(TAIL, register === TAIL ? value : 1)
    await engine.interrupts.next()
    assert.equal(await engine.get(STATUS), status)
    assert.equal(await engine.get(INTERRUPT), 2)
    await engine.set(INTERRUPT, 0xffff_ffff)
    assert.equal(await engine.get(INTERRUPT), 0)

    await engine.start()
    assert.deepEqual(await engine.run(ADD_UP), [[0, DONE]])
    assert.equal(await engine.get(INTERRUPT), 1)
  })
}

test('dma-engine reaches nothing while bus mastering is off', async () => {
  using served = await Served.start(dmaEngine)
  using engine = await EngineClient.attach(served)
  await engine.masterBus(false)
  await engine.submit([FILL_WITH_ONES])
  await engine.interrupts.next()
  assert.equal(await engine.get(STATUS), RING_FAULT)
  assert.deepEqual(engine.result(0), [1, 0])
  assert.deepEqual(engine.data.read(0, 1), Buffer.alloc(1))
})

test('dma-engine’s registers take accesses of 32 bits, and only where they may be written', async () => {
  using served = await Served.start(dmaEngine)
  using engine = await EngineClient.attach(served)
  await engine.client.writeRegister(BAR, SIZE, 7, 2)
  await engine.client.writeRegister(BAR, SIZE + 1, 7, 1)
  assert.equal(await engine.get(SIZE), 16)
  assert.equal(await engine.client.readRegister(BAR, SIZE, 2), 0)
  for (const register of [HEAD, STATUS, 0x20, 0xffc]) await engine.set(register, 3)
  assert.equal(await engine.get(HEAD), 0)
  assert.equal(await engine.get(STATUS), RUNNING)
  assert.equal(await engine.get(0x20), 0)
  assert.equal(await engine.get(0xffc), 0)
})

test('dma-engine keeps no fd of a client that went while it worked', async () => {
  using served = await Served.start(dmaEngine)
  const before = openFds()
  {
    using engine = await EngineClient.attach(served, 'unsealable memfd')
    await engine.submit(fullRing(COPY_UP), 0)
    await engine.interrupts.next()
  }
  await served.idle()
  assert.deepEqual(openFds(), before)
})
