/**
 * Hostile clients: whatever they say, the server answers or closes, leaks nothing, and serves the next. `npm run fuzz` runs the
 * same sessions by the million.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { fuzzedDriver, DEVICE_KINDS } from '../support/fuzz-device.ts'
import { Grammar } from '../support/fuzz-messages.ts'
import { Random } from '../support/fuzz-random.ts'
import { fuzz } from '../support/fuzz-run.ts'
import { BURST_SIZE, runSession } from '../support/fuzz-session.ts'
import { MessageWriter } from '../support/fuzz-writer.ts'
import { resourcesOf } from '../support/resources.ts'
import { RawClient } from '../support/vfio-user-raw.ts'
import { Served } from '../support/vfio-user-served.ts'

/** Turns of the event loop that the server has for noticing that clients have gone. */
const TURNS = 10_000

const seeds = fc.integer({ min: 0, max: 0x7fff_ffff })

describe('Grammar', () => {
  const hundred = (seed: number): Buffer => {
    const writer = new MessageWriter(BURST_SIZE)
    const grammar = new Grammar(new Random(seed), writer)
    for (let i = 0; i < 100; i++) grammar.next()
    return Buffer.from(writer.bytes.subarray(0, writer.at))
  }

  test('a seed gives the same messages again, another one others', () => {
    assert.ok(hundred(1).equals(hundred(1)))
    assert.ok(!hundred(1).equals(hundred(2)))
  })
})

for (const kind of DEVICE_KINDS) {
  describe(`a hostile client of a device with ${kind === 'full' ? 'everything' : 'little'}`, () => {
    let served: Served
    const writer = new MessageWriter(BURST_SIZE)
    before(async () => {
      served = await Served.start(fuzzedDriver, kind)
    })
    after(() => served[Symbol.dispose]())

    test('gets the replies that are due, leaves nothing, and the next one is served', async () => {
      const { path } = served
      await fc.assert(
        fc.asyncProperty(seeds, async (seed) => {
          const { fds, shared } = resourcesOf()
          const isBack = () =>
            served.mdev.group.user === undefined && resourcesOf().fds.length === fds.length
          await runSession({ path, seed, number: 0, writer, onSend: () => {} })
          for (let i = 0; i < TURNS && !isBack(); i++)
            await new Promise((resolve) => setImmediate(resolve))
          assert.equal(served.mdev.group.user, undefined)
          const now = resourcesOf()
          assert.deepEqual({ fds: now.fds, shared: now.shared }, { fds, shared })
        }),
        { numRuns: 40, includeErrorInReport: true },
      )
      using next = await RawClient.attach(path)
      next.close()
      await served.idle()
    })
  })
}

test('a host fuzzed by several clients at a time serves a polite one, and keeps nothing', async () => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  const outcome = await fuzz({ seed, messages: 60_000, seconds: Infinity, connections: 3 })
  assert.ok(outcome.sessions > 0 && outcome.visits > 0)
})
