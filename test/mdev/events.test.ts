/** Telling listeners, whatever they do. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { createLogger } from '../../src/lib/log.ts'
import { announce, createEvents } from '../../src/mdev/events.ts'
import { Bench, driverOf } from './support.ts'

describe('announce()', () => {
  test('tells every listener, also after one that throws, which is logged', () => {
    const { parent } = new Bench(driverOf())
    const events = createEvents()
    const logged: string[] = []
    const told: unknown[] = []
    events.on('registered', (subject) => told.push(subject))
    events.on('registered', () => {
      throw new Error('a listener of ours')
    })
    events.on('registered', (subject) => told.push(subject))
    announce(
      events,
      createLogger('error', (line) => logged.push(line)),
      'registered',
      parent,
    )
    assert.deepEqual(told, [parent, parent])
    assert.equal(logged.length, 1)
    assert.match(logged[0]!, /^error: listener for registered: a listener of ours /)
  })

  test('tells once() once', async () => {
    const { parent } = new Bench(driverOf())
    const events = createEvents()
    const told = once(events, 'unregistered')
    const log = createLogger('error', () => {})
    announce(events, log, 'unregistered', parent)
    assert.deepEqual(await told, [parent])
    assert.equal(events.listenerCount('unregistered'), 0)
  })
})
