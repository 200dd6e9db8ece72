import assert from 'node:assert/strict'
import { openSync, readSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EventFd } from '../../src/os/eventfd.ts'
import { fdFlags, setFdFlags } from '../../src/os/fd.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import {
  addToEventfd,
  assertKeepsFds,
  duplicate,
  Fds,
  isOpen,
  makeBlockingEventfd,
  makeMemfd,
  makePipe,
  makeTimerfd,
} from '../support/fds.ts'
import { ended, start } from '../support/child.ts'
import { Scratch } from '../support/scratch.ts'

const O_NONBLOCK = 0o4000
const O_PATH = 0o10000000
/** eventfd(2): the largest value that the counter holds. */
const FULL = 0xffff_ffff_ffff_fffen

/** Takes the counter, as the peer would. */
function counterOf(fd: number): bigint {
  const value = new BigUint64Array(1)
  assert.equal(readSync(fd, value), 8)
  return value[0] ?? 0n
}

test('EventFd.create() makes a non-blocking one with counter 0', () => {
  using eventfd = EventFd.create()
  assert.equal(fdFlags(eventfd.fd) & O_NONBLOCK, O_NONBLOCK)
  assert.throws(() => counterOf(eventfd.fd), { code: 'EAGAIN' })
})

test('EventFd.signal() adds 1, EventFd.drain() takes all and says whether there was any', () => {
  using eventfd = EventFd.create()
  assert.equal(eventfd.drain(), false)
  eventfd.signal()
  assert.equal(eventfd.drain(), true)
  assert.equal(eventfd.drain(), false)
  eventfd.signal()
  eventfd.signal()
  assert.equal(counterOf(eventfd.fd), 2n)
})

test('EventFd.signal() leaves a full counter full', () => {
  using eventfd = EventFd.create()
  addToEventfd(eventfd.fd, FULL)
  eventfd.signal()
  assert.equal(counterOf(eventfd.fd), FULL)
})

test('EventFd.adopt() takes over the fd of a peer', () => {
  using theirs = EventFd.create()
  const fd = duplicate(theirs.fd)
  const ours = EventFd.adopt(fd)
  assert.equal(ours.fd, fd)
  ours.signal()
  assert.equal(counterOf(theirs.fd), 1n)
  ours.close()
  assert.equal(isOpen(fd), false)
  assert.equal(isOpen(theirs.fd), true)
})

test('a blocking eventfd with a full counter does not hang EventFd.signal(), and keeps its flags', () => {
  using fds = new Fds()
  const theirs = fds.own(makeBlockingEventfd())
  const flags = fdFlags(theirs)
  using ours = EventFd.adopt(duplicate(theirs))
  addToEventfd(theirs, FULL)
  ours.signal()
  assert.equal(fdFlags(theirs), flags)
  // eventfd(2): what the kernel itself signals may take it one further, to UINT64_MAX
  assert.ok(counterOf(theirs) >= FULL)
  ours.signal()
  assert.equal(counterOf(theirs), 1n)
})

test('a peer that fills the counter and makes the eventfd blocking afterwards does not hang EventFd.signal()', () => {
  using fds = new Fds()
  const own = fds.own(makeBlockingEventfd())
  using eventfd = EventFd.adopt(duplicate(own))
  addToEventfd(own, 2n ** 64n - 2n)
  setFdFlags(own, fdFlags(own) & ~O_NONBLOCK)
  for (let i = 0; i < 200; i++) eventfd.signal()
  assert.equal(fdFlags(own) & O_NONBLOCK, 0)
  assert.equal(eventfd.drain(), true)
})

test('EventFd.signal() of an adopted one adds 1 each time, however often', () => {
  using fds = new Fds()
  const own = fds.own(makeBlockingEventfd())
  using eventfd = EventFd.adopt(duplicate(own))
  for (let i = 0; i < 1000; i++) eventfd.signal()
  const counter = Buffer.alloc(8)
  readSync(own, counter)
  assert.equal(counter.readBigUInt64LE(), 1000n)
})

test('a blocking eventfd with counter 0 does not hang EventFd.drain(), and keeps its flags', () => {
  using fds = new Fds()
  const theirs = fds.own(makeBlockingEventfd())
  const flags = fdFlags(theirs)
  using ours = EventFd.adopt(duplicate(theirs))
  assert.equal(ours.drain(), false)
  addToEventfd(theirs, 3n)
  assert.equal(ours.drain(), true)
  assert.equal(ours.drain(), false)
  assert.equal(fdFlags(theirs), flags)
})

test('EventFd.drain() does not hang when the peer makes the eventfd blocking afterwards', () => {
  using theirs = EventFd.create()
  using ours = EventFd.adopt(duplicate(theirs.fd))
  setFdFlags(theirs.fd, fdFlags(theirs.fd) & ~O_NONBLOCK)
  assert.equal(ours.drain(), false)
})

test('EventFd.adopt() refuses what is no eventfd with EINVAL, and closes it', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const [reader, writer] = makePipe()
  const [left, right] = socketPair()
  const eventfd = fds.own(makeBlockingEventfd())
  const impostors = {
    'read end of a pipe': reader,
    'write end of a pipe': writer,
    socket: left,
    'other socket': right,
    file: openSync(scratch.write('anon_inode:[eventfd]', ''), 'r+'),
    directory: openSync(scratch.path, 'r'),
    memfd: makeMemfd(0),
    timerfd: makeTimerfd(),
    'eventfd opened with O_PATH': openSync(`/proc/self/fd/${eventfd}`, O_PATH),
  }
  for (const [what, fd] of Object.entries(impostors)) {
    assert.throws(() => EventFd.adopt(fd), { code: 'EINVAL' }, what)
    assert.equal(isOpen(fd), false, what)
  }
})

test('EventFd.adopt() throws for what is no fd', () => {
  assert.throws(() => EventFd.adopt(-1), { code: 'ENOENT' })
})

test('a closed EventFd does nothing, and does not close a number given out again', () => {
  assertKeepsFds(() => {
    const eventfd = EventFd.create()
    const { fd } = eventfd
    eventfd.close()
    assert.equal(eventfd.fd, -1)
    using next = EventFd.create()
    assert.equal(next.fd, fd) // the lowest free number
    eventfd.close()
    eventfd[Symbol.dispose]()
    eventfd.signal()
    assert.equal(eventfd.drain(), false)
    assert.equal(next.drain(), false)
    assert.equal(isOpen(fd), true)
  })
})

test('EventFd.drain() works in memory that the collector cannot take', async () => {
  const program = fileURLToPath(new URL('./eventfd-program.js', import.meta.url))
  const { code, signal, stdout } = await ended(start(process.execPath, ['--expose-gc', program]))
  assert.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: '5\n' })
})
