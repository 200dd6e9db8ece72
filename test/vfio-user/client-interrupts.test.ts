/** Interrupts as a program takes them: waited for, iterated over, or called back. */
import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { Client, IRQ } from '../../src/vfio-user/client.ts'
import type { ClientInterrupts } from '../../src/vfio-user/client-interrupts.ts'
import { openFds } from '../support/fds.ts'
import { MSI_VECTORS, type TestDevice } from '../support/vfio-user-device.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

let served: Served
let device: TestDevice
let client: Client
let msi: ClientInterrupts
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  client = await Client.attach(served.path)
  msi = await client.interrupts(IRQ.msi, MSI_VECTORS)
})
afterEach(() => {
  client.detach()
  served[Symbol.dispose]()
})

/** Triggers vectors of the device, one at a time, and waits until each has arrived. */
async function trigger(vector: number, times = 1): Promise<void> {
  for (let i = 0; i < times; i++) {
    const arrived = new Promise<void>((resolve) => {
      const stop = msi.vector(MSI_VECTORS - 1).onInterrupt(() => {
        stop()
        resolve()
      })
    })
    device.msi[vector]?.trigger()
    device.msi[MSI_VECTORS - 1]?.trigger() // behind it, in the order of the epoll set or the next round
    await arrived
    await client.info()
  }
}

describe('ClientInterrupts', () => {
  test('has as many vectors as were asked for', () => {
    assert.equal(msi.count, MSI_VECTORS)
    assert.equal(msi.vector(3).index, 3)
    assert.throws(() => msi.vector(MSI_VECTORS), RangeError)
    assert.throws(() => msi.vector(-1), RangeError)
  })

  test('is disabled at the end of its scope, once', async () => {
    await msi.disable()
    const before = openFds()
    {
      await using again = await client.interrupts(IRQ.msi, 2)
      assert.equal(again.count, 2)
    }
    assert.deepEqual(openFds(), before)
    {
      await using again = await client.interrupts(IRQ.msi, 2)
      await again.disable()
    }
    {
      await using again = await client.interrupts(IRQ.msi, 2)
      assert.equal(again.count, 2)
      client.detach()
    }
  })

  test('masks and unmasks what can be masked', async () => {
    const intx = await client.interrupts(IRQ.intx)
    await intx.mask()
    device.line.set(true)
    await client.info()
    const next = intx.next()
    await intx.unmask()
    await next
    device.line.set(false)
    await assert.rejects(msi.mask(), { code: 'EINVAL' })
    await assert.rejects(msi.vector(1).unmask(), { code: 'EINVAL' })
  })
})

describe('ClientVector.next()', () => {
  test('takes interrupts that came before, one at a time', async () => {
    await trigger(2, 3)
    for (let i = 0; i < 3; i++) await msi.vector(2).next()
    const next = msi.vector(2).next()
    device.msi[2]?.trigger()
    await next
  })

  test('gives one interrupt to one who waits, in order', async () => {
    const order: number[] = []
    const waiting = [1, 2].map(async (who) => {
      await msi.vector(0).next()
      order.push(who)
    })
    await trigger(0)
    await waiting[0]
    assert.deepEqual(order, [1])
    await trigger(0)
    await waiting[1]
    assert.deepEqual(order, [1, 2])
  })

  test('ends at a signal, with its reason, and forgets who waited', async () => {
    const controller = new AbortController()
    const { signal } = controller
    const next = msi.vector(0).next({ signal })
    const reason = new Error('enough')
    controller.abort(reason)
    await assert.rejects(next, reason)
    await assert.rejects(msi.next(0, { signal }), reason)
    await trigger(0)
    await msi.vector(0).next() // not lost to the one who has gone
  })

  test('leaves nothing at a signal that outlives it', async () => {
    const { signal } = new AbortController()
    for (let i = 0; i < 20; i++) {
      const next = msi.vector(0).next({ signal })
      device.msi[0]?.trigger()
      await next
    }
    assert.equal(getEventListeners(signal, 'abort').length, 0)
  })

  test('rejects with ECANCELED when disabled', async () => {
    const next = assert.rejects(msi.vector(0).next(), { code: 'ECANCELED' })
    await msi.disable()
    await next
    await assert.rejects(msi.vector(0).next(), { code: 'ECANCELED' })
  })
})

describe('iterating over a ClientVector', () => {
  test('counts what came since the last step, and ends when disabled', async () => {
    await trigger(1, 3)
    const counts: number[] = []
    for await (const count of msi.vector(1)) {
      counts.push(count)
      if (counts.length === 1) await trigger(1)
      else await msi.disable()
    }
    assert.deepEqual(counts, [3, 1])
  })

  test('ends when the client detaches', async () => {
    const steps: number[] = []
    const iteration = (async () => {
      for await (const count of msi.vector(1)) steps.push(count)
    })()
    client.detach()
    await iteration
    assert.deepEqual(steps, [])
  })

  test('throws ECONNRESET when the server goes', async () => {
    const iteration = msi.vector(1).each().next()
    const failed = assert.rejects(iteration, { code: 'ECONNRESET' })
    await served.host.parent.remove(served.mdev.uuid, { force: true })
    await failed
  })

  test('throws the reason of its signal', async () => {
    const reason = new Error('enough')
    const steps = msi.vector(1).each({ signal: AbortSignal.abort(reason) })
    await assert.rejects(async () => steps.next(), reason)
  })

  test('may be left and taken up again; what comes between is kept', async () => {
    await trigger(4)
    for await (const count of msi.vector(4)) {
      assert.equal(count, 1)
      break
    }
    await trigger(4, 2)
    assert.deepEqual(await msi.vector(4).each().next(), { done: false, value: 2 })
  })
})

describe('ClientVector.onInterrupt()', () => {
  test('calls back until it is told not to; next() sees what comes then', async () => {
    const calls: string[] = []
    const listener = () => calls.push('listener')
    const stops = [msi.vector(5).onInterrupt(listener), msi.vector(5).onInterrupt(listener)]
    await trigger(5)
    assert.deepEqual(calls, ['listener', 'listener'])
    stops[0]?.()
    stops[0]?.()
    await trigger(5)
    assert.equal(calls.length, 3)
    stops[1]?.()
    await trigger(5)
    assert.equal(calls.length, 3)
    await msi.vector(5).next()
  })

  test('is not called for other vectors', async () => {
    msi.vector(5).onInterrupt(() => assert.fail('vector 5 was not triggered'))
    await trigger(4)
  })
})
