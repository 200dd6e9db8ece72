/** Timers of less than a millisecond. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ShortTimers } from '../../src/os/short-timers.ts'
import { ended, start } from '../support/child.ts'

test('short timers go off in the order in which they are due, none of them early', async () => {
  const began = performance.now()
  let stands = true // while they are set
  const timers = new ShortTimers(() => (stands ? began : performance.now()))
  const order: number[] = []
  const all = Promise.all(
    [3, 0.4, 2, 0.1, 0, 1.5].map(
      async (ms) =>
        new Promise<void>((resolve) => {
          timers.after(ms, () => {
            order.push(ms)
            assert.ok(performance.now() - began >= ms)
            resolve()
          })
        }),
    ),
  )
  stands = false
  await all
  assert.deepEqual(order, [0, 0.1, 0.4, 1.5, 2, 3])
})

test('a short timer that is called off does not go off, and others do', async () => {
  const timers = new ShortTimers()
  const gone = timers.after(0.2, () => assert.fail('called off'))
  const other = new Promise<void>((resolve) => void timers.after(0.5, resolve))
  gone()
  gone()
  await other
  const again = timers.after(0.1, () => assert.fail('called off'))
  again()
  await new Promise<void>((resolve) => void timers.after(1, resolve))
})

test('a short timer may set others', async () => {
  const timers = new ShortTimers()
  let rounds = 0
  await new Promise<void>((resolve) => {
    const next = () => {
      if (++rounds === 100) resolve()
      else timers.after(0.05, next)
    }
    next()
  })
})

test('short timers keep the process alive until they have gone off, one that throws as well, and no longer', async () => {
  const module = new URL('../../src/os/short-timers.js', import.meta.url)
  const program = `
    const { shortTimers } = await import(${JSON.stringify(module.href)})
    process.on('uncaughtException', ({ message }) => console.log(message))
    shortTimers().after(3, () => { throw new Error('thrown') })
    shortTimers().after(4, () => console.log('gone off'))
    shortTimers().after(1000, () => console.log('too late'))()`
  const outcome = await ended(start(process.execPath, ['--input-type=module', '--eval', program]))
  assert.equal(outcome.stderr, '')
  assert.equal(outcome.stdout, 'thrown\ngone off\n')
})
