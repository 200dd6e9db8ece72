import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { EpollSet, type LoopWatch, threadWatch, uvWatch, watchOnLoop } from '../../src/os/epoll.ts'
import { EventFd } from '../../src/os/eventfd.ts'
import { closeFd } from '../../src/os/fd.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { Fds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

// <sys/epoll.h>
const EPOLLIN = 1
const EPOLLOUT = 4
const EPOLLHUP = 0x10
const EPOLLET = 2 ** 31

/** A set that is closed when the `using` scope ends. */
function newSet(fds: Fds): EpollSet {
  const set = new EpollSet()
  fds.own(set.fd)
  return set
}

/** The events of one poll, by the number that they come with. */
function poll(set: EpollSet): Record<number, number> {
  const count = set.poll()
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [set.dataOf(i), set.eventsOf(i)]),
  )
}

test('EpollSet.poll() returns what is ready, each with its number, without waiting', () => {
  using fds = new Fds()
  using one = EventFd.create()
  using two = EventFd.create()
  const set = newSet(fds)
  set.add(one.fd, EPOLLIN, 0xffff_ffff) // 32 bits of it
  set.add(two.fd, EPOLLIN, 2)
  assert.deepEqual(poll(set), {})
  two.signal()
  assert.deepEqual(poll(set), { 2: EPOLLIN })
  one.signal()
  assert.deepEqual(poll(set), { 2: EPOLLIN, 0xffff_ffff: EPOLLIN })
  two.drain()
  assert.deepEqual(poll(set), { 0xffff_ffff: EPOLLIN })
})

test('EpollSet.poll() returns 64 events at most, and the others next time', () => {
  using fds = new Fds()
  const set = newSet(fds)
  const numbers = Array.from({ length: 100 }, (_, i) => i)
  const eventfds = numbers.map(() => EventFd.create())
  for (const i of numbers) {
    fds.own(eventfds[i]?.fd ?? -1)
    eventfds[i]?.signal()
    set.add(eventfds[i]?.fd ?? -1, EPOLLIN, i)
  }
  const first = poll(set)
  assert.equal(Object.keys(first).length, 64)
  assert.equal(Object.keys({ ...first, ...poll(set) }).length, 100)
})

test('EpollSet.modify() changes interest and number, remove() ends both', () => {
  using fds = new Fds()
  const set = newSet(fds)
  const [left, right] = socketPair()
  fds.own(left)
  set.add(right, EPOLLIN | EPOLLOUT, 1)
  assert.deepEqual(poll(set), { 1: EPOLLOUT })
  set.modify(right, 0, 2)
  assert.deepEqual(poll(set), {})
  closeFd(left)
  assert.deepEqual(poll(set), { 2: EPOLLHUP })
  set.remove(right)
  assert.deepEqual(poll(set), {})
  set.remove(right) // harmless
  closeFd(right)
  set.remove(right)
})

test('EPOLLET reports each signal of an eventfd once, though nobody reads it', () => {
  using fds = new Fds()
  using eventfd = EventFd.create()
  const set = newSet(fds)
  set.add(eventfd.fd, EPOLLIN | EPOLLET, 7)
  for (let i = 0; i < 3; i++) {
    eventfd.signal()
    assert.deepEqual(poll(set), { 7: EPOLLIN })
    assert.deepEqual(poll(set), {})
  }
})

test('EpollSet refuses what it cannot watch', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  using eventfd = EventFd.create()
  const set = newSet(fds)
  const file = fds.own(openSync(scratch.write('file', ''), 'r'))
  assert.throws(() => set.add(-1, EPOLLIN, 1), { code: 'EBADF' })
  assert.throws(() => set.add(file, EPOLLIN, 1), { code: 'EPERM' })
  assert.throws(() => set.add(set.fd, EPOLLIN, 1), { code: 'EINVAL' })
  assert.throws(() => set.modify(eventfd.fd, EPOLLIN, 1), { code: 'ENOENT' })
  set.add(eventfd.fd, EPOLLIN, 1)
  assert.throws(() => set.add(eventfd.fd, EPOLLIN, 2), { code: 'EEXIST' })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

const WATCHES: Readonly<
  Record<string, (set: EpollSet, onReady: () => void) => LoopWatch | undefined>
> = { uvWatch, threadWatch, watchOnLoop }

for (const [name, watch] of Object.entries(WATCHES)) {
  test(`${name}() calls back while the set has events, between start and stop`, async () => {
    using eventfd = EventFd.create()
    const set = new EpollSet() // for ever, like its watch
    set.add(eventfd.fd, EPOLLIN, 1)
    eventfd.signal()
    let calls = 0
    const reached = deferred()
    const loop = watch(set, () => {
      calls++
      if (calls === 3) {
        loop?.stop()
        loop?.stop()
        reached.resolve()
      }
    })
    assert.ok(loop !== undefined, 'this node binary does not export uv_poll_init')
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(calls, 0)
    loop.start()
    loop.start()
    await reached.promise
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(calls, 3)

    const again = deferred()
    set.modify(eventfd.fd, 0, 1)
    loop.start()
    const other = new EpollSet()
    const otherLoop = watch(other, () => {
      otherLoop?.stop()
      again.resolve()
    })
    other.add(eventfd.fd, EPOLLIN, 1)
    otherLoop?.start()
    await again.promise // a set with nothing ready stays silent meanwhile
    assert.equal(calls, 3)
    loop.stop()
  })
}

test('in a worker, whose loop is not the main one, a thread waits', async () => {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)
  const source = `
    const { parentPort } = await import('node:worker_threads')
    const { EpollSet, uvWatch } = await import(${url('../../src/os/epoll.js')})
    const { EventFd } = await import(${url('../../src/os/eventfd.js')})
    const { EPOLLIN, Reactor } = await import(${url('../../src/os/reactor.js')})
    parentPort.postMessage(uvWatch(new EpollSet(), () => {}) === undefined)
    const eventfd = EventFd.create()
    eventfd.signal()
    const watch = new Reactor().watch(eventfd.fd, EPOLLIN, () => {
      watch.close()
      parentPort.postMessage('ready')
    })`
  const worker = new Worker(`(async () => {${source}})()`, { eval: true })
  const messages: unknown[] = []
  worker.on('message', (message) => messages.push(message))
  await new Promise((resolve, reject) => {
    worker.once('exit', resolve)
    worker.once('error', reject)
  })
  assert.deepEqual(messages, [true, 'ready'])
})
