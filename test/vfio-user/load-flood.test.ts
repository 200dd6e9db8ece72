/** Connections in masses, and none to be had: neither keeps a client that is there waiting, nor the processor busy. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { openFds } from '../support/fds.ts'
import { withoutFreeFds } from '../support/free-fds.ts'
import { REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertSuccess,
  RawClient,
  REGION_WRITE,
  u32,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'
import { until } from '../support/until.ts'

const CONNECTIONS = 500
/** Connections that may be accepted before a request that waits: one for each look at what is ready. */
const MOST_BEFORE = 4

let served: Served
let device: TestDevice
let other: string
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  const mdev = await served.host.create('test-1', '11111111-2222-4333-8444-555555555555')
  other = served.host.socketOf(mdev)
})
afterEach(() => served[Symbol.dispose]())

const linesOf = (text: string) => served.lines.filter((line) => line.includes(text)).length

/** Connects without a word. @returns undefined while too many wait to be accepted */
function tryConnect(path: string): RawClient | undefined {
  try {
    return RawClient.connect(path)
  } catch (error) {
    if (error instanceof ErrnoError && error.code === 'EAGAIN') return undefined
    throw error
  }
}

describe('a flood of connections to one socket', () => {
  test('keeps neither its client nor that of another waiting, and leaves nothing behind', async () => {
    using first = await RawClient.attach(served.path)
    using polite = await RawClient.attach(other)
    const before = openFds()
    let connected = 0
    let accepted = 0
    let longest = 0
    device.onWrite = () => {
      longest = Math.max(longest, linesOf('refused') - accepted)
    }
    while (connected < CONNECTIONS) {
      for (let i = 0; i < 100; i++) {
        const client = tryConnect(served.path)
        if (client === undefined) break
        connected++
        client.close()
      }
      accepted = linesOf('refused')
      assertSuccess(await polite.request(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1))))
      await first.assertAlive()
    }
    assert.ok(longest <= MOST_BEFORE, `${longest} connections before a request`)
    await until(async () => {
      await polite.assertAlive()
      assert.equal(linesOf('refused'), connected)
    })
    await first.assertAlive()
    assert.deepEqual(openFds(), before)
  })
})

describe('without fd numbers', () => {
  test('one who waits to be accepted costs a try now and then, not one in each round', async () => {
    using polite = await RawClient.attach(other)
    using waiting = RawClient.connect(served.path)
    let requests = 0
    await withoutFreeFds(async () => {
      await until(async () => {
        await polite.assertAlive()
        return linesOf('EMFILE') > 0
      }, 'a line with EMFILE')
      for (; requests < 1000; requests++) await polite.assertAlive()
    })
    const tries = linesOf('EMFILE')
    assert.ok(tries <= requests / 10, `${tries} tries beside ${requests} requests`)
    assertSuccess(await waiting.request(VERSION, versionPayload('{}')))
    await waiting.assertAlive()
  })
})
