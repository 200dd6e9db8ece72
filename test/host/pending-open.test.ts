/** Clients that come while a driver gets ready for their group: they wait, go, are taken off, are refused; nothing stays behind. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Host } from '../../src/host/host.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import { reactor } from '../../src/os/reactor.ts'
import { deferred, driverOf, IDENTITY } from '../mdev/support.ts'
import { openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  message,
  RawClient,
  REGION_READ,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { UUID } from './support.ts'

/** Two messages at once: VERSION, and a read of the vendor and device numbers. */
const VERSION_AND_READ = Buffer.concat([
  message(VERSION, versionPayload('{}')),
  message(REGION_READ, access(7, 0, 4), { id: 1 }),
])

/** A host whose driver says when it is ready. */
class Bench implements Disposable {
  readonly #scratch = new Scratch()
  readonly host: Host
  readonly heard: string[] = []
  readonly #asked: ReturnType<typeof deferred<void>>[] = []
  #told = deferred<void>()
  fds: readonly string[] = []

  constructor() {
    reactor() // what it opens stays open
    const driver = driverOf({
      groupOpen: () => {
        this.heard.push('open')
        const answer = deferred<void>()
        this.#asked.push(answer)
        this.#told.resolve()
        return answer.promise
      },
      groupClose: () => void this.heard.push('close'),
      probe(mdev) {
        mdev.pci(IDENTITY)
        return { reset: () => {} }
      },
    })
    this.host = new Host({ driver, log: silentLogger, root: this.#scratch.path })
  }

  async create(): Promise<MdevDevice> {
    const mdev = await this.host.create('test-1', UUID)
    this.fds = openFds()
    return mdev
  }

  /** Resolves when the driver is asked, with how to answer. */
  async asked() {
    for (;;) {
      const answer = this.#asked.shift()
      if (answer !== undefined) return answer
      await this.#told.promise
      this.#told = deferred<void>()
    }
  }

  [Symbol.dispose](): void {
    this.host.close()
    this.#scratch[Symbol.dispose]()
  }
}

describe('A client whose group is being opened', () => {
  test('is answered when the driver is ready, and all that it has sent is done in order', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    using client = RawClient.connect(bench.host.socketOf(mdev))
    await client.send(VERSION_AND_READ)
    const answer = await bench.asked()
    assert.equal(bench.host.statsOf(mdev).server?.clients, 0)
    answer.resolve()
    assertSuccess(await client.reply())
    const { payload } = await client.reply()
    assert.equal(payload.readUInt32LE(16), 0x3253_4348) // test/mdev/support.ts
    assert.equal(bench.host.statsOf(mdev).server?.clients, 1)
  })

  test('keeps a second one out with EBUSY', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    using first = RawClient.connect(bench.host.socketOf(mdev))
    const answer = await bench.asked()
    using second = RawClient.connect(bench.host.socketOf(mdev))
    assertRefused(await second.request(VERSION, versionPayload('{}')), 'EBUSY')
    answer.resolve()
    assertSuccess(await first.request(VERSION, versionPayload('{}')))
  })

  test('is refused with what the driver says, and the next may come', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    {
      using client = RawClient.connect(bench.host.socketOf(mdev))
      const refused = client.request(VERSION, versionPayload('{}'))
      ;(await bench.asked()).reject(new ErrnoError('ENOSPC', 'no link left'))
      assertRefused(await refused, 'ENOSPC')
    }
    using next = RawClient.connect(bench.host.socketOf(mdev))
    const served = next.request(VERSION, versionPayload('{}'))
    ;(await bench.asked()).resolve()
    assertSuccess(await served)
    assert.deepEqual(bench.heard, ['open', 'open'])
  })

  test('may hang up meanwhile; the next is let in once the driver has heard of the end', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    {
      using client = RawClient.connect(bench.host.socketOf(mdev))
      await client.send(VERSION_AND_READ)
      ;(await bench.asked()).resolve()
    }
    using next = RawClient.connect(bench.host.socketOf(mdev))
    const served = next.request(VERSION, versionPayload('{}'))
    ;(await bench.asked()).resolve()
    assertSuccess(await served)
    assert.deepEqual(bench.heard, ['open', 'close', 'open'])
  })

  test('makes room at once where it has hung up when the next one comes', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    const gone = RawClient.connect(bench.host.socketOf(mdev))
    const first = await bench.asked()
    gone.close()
    using next = RawClient.connect(bench.host.socketOf(mdev))
    const served = next.request(VERSION, versionPayload('{}'))
    first.resolve()
    ;(await bench.asked()).resolve()
    assertSuccess(await served)
    assert.deepEqual(bench.heard, ['open', 'close', 'open'])
  })

  test('is taken off when its mdev is removed by force; nothing is left of either', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    const socket = bench.host.socketOf(mdev)
    await assert.rejects(bench.host.create('test-1', UUID), { code: 'EEXIST' })
    {
      using client = RawClient.connect(socket)
      const answer = await bench.asked()
      await assert.rejects(bench.host.parent.remove(UUID), { code: 'EBUSY' })
      await bench.host.parent.remove(UUID, { force: true })
      await client.end()
      answer.resolve() // too late
    }
    await new Promise(setImmediate)
    assert.deepEqual(bench.heard, ['open', 'close'])
    const left = bench.fds.filter((fd) => !openFds().includes(fd))
    assert.deepEqual(
      openFds().filter((fd) => !bench.fds.includes(fd)),
      [],
    )
    assert.notDeepEqual(left, []) // the listener and the locks have gone
  })

  test('is asked nothing of, and taken off, when the whole host closes', async () => {
    using bench = new Bench()
    const mdev = await bench.create()
    using client = RawClient.connect(bench.host.socketOf(mdev))
    const answer = await bench.asked()
    bench.host.close()
    await client.end()
    answer.reject(new Error('too late')) // is heard by nobody, and ends nothing
    await new Promise(setImmediate)
    assert.deepEqual(bench.heard, ['open'])
  })
})
