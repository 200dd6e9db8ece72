import assert from 'node:assert/strict'
import { fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { closeFd } from '../../src/os/fd.ts'
import { Inbox, Outbox, receiveInto, sendBytes, WOULD_BLOCK } from '../../src/os/message.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { ended, start } from '../support/child.ts'
import { assertKeepsFds, Fds, isOpen, makePipe } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

/** Two ends of a connection that end with the `using` scope, with an outbox and an inbox. */
class Line implements Disposable {
  readonly left: number
  readonly right: number
  readonly outbox = new Outbox(64 * 1024)
  readonly inbox = new Inbox(64 * 1024)
  readonly #fds = new Fds()

  constructor() {
    const [left, right] = socketPair()
    this.left = this.#fds.own(left)
    this.right = this.#fds.own(right)
  }

  send(text: string, fds?: readonly number[]): number {
    return this.outbox.send(this.left, Buffer.from(this.outbox.bytes.buffer).write(text), fds)
  }

  /** Receives once, closes the fds. @returns the text and how many fds came with it */
  receive(limit = 1000): [string, number] {
    const count = this.inbox.receive(this.right, 0, limit)
    const { fds } = this.inbox
    const received = fds.splice(0)
    for (const fd of received) closeFd(fd)
    return [Buffer.from(this.inbox.bytes.subarray(0, count)).toString('latin1'), received.length]
  }

  [Symbol.dispose](): void {
    this.#fds[Symbol.dispose]()
  }
}

test('Inbox.receive() never returns bytes past the message that fds came with', () => {
  using line = new Line()
  assertKeepsFds(() => {
    // SCM_RIGHTS is a barrier in the stream: reference/node-systems.md, section 2
    line.send('a')
    line.send('b', [0, 1])
    line.send('c')
    line.send('d', [2])
    line.send('e')
    assert.deepEqual(line.receive(), ['ab', 2])
    assert.deepEqual(line.receive(), ['cd', 1])
    assert.deepEqual(line.receive(), ['e', 0])
  })
})

test('fds come with the first byte of their message, even when the rest does not fit', () => {
  using line = new Line()
  line.send('abcdef', [0])
  assert.deepEqual(line.receive(2), ['ab', 1])
  assert.deepEqual(line.receive(2), ['cd', 0])
  line.send('gh', [1])
  assert.deepEqual(line.receive(4), ['efgh', 1])
})

test('a received fd is the file that was sent, under a new number, not inherited by children', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  using line = new Line()
  const sent = fds.own(openSync(scratch.write('file', 'content'), 'r'))
  line.send('x', [sent])
  assert.equal(line.inbox.receive(line.right, 0, 100), 1)
  assert.equal(line.inbox.fds.length, 1)
  const received = fds.own(line.inbox.fds[0] ?? -1)
  assert.notEqual(received, sent)
  assert.equal(fstatSync(received).ino, fstatSync(sent).ino)
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${received}`, 'utf8'))
  assert.equal(Number.parseInt(flags?.[1] ?? '', 8) & 0o2000000, 0o2000000) // O_CLOEXEC
  assert.equal(isOpen(sent), true)
})

test('253 fds go with one message, in order; 254 are EINVAL', () => {
  using fds = new Fds()
  using line = new Line()
  const [reader, writer] = makePipe()
  fds.own(reader)
  fds.own(writer)
  assertKeepsFds(() => {
    // <net/scm.h>: SCM_MAX_FD
    const most = Array.from({ length: 253 }, (_, i) => (i === 252 ? writer : reader))
    assert.equal(line.send('many', most), 4)
    assert.equal(line.inbox.receive(line.right, 0, 100), 4)
    assert.equal(line.inbox.truncated, false)
    const received = line.inbox.fds.splice(0)
    assert.equal(received.length, 253)
    assert.equal(writeSync(received[252] ?? -1, 'x'), 1)
    assert.equal(readSync(received[0] ?? -1, Buffer.alloc(1)), 1)
    for (const fd of received) closeFd(fd)
    assert.throws(() => line.send('more', [...most, reader]), { code: 'EINVAL' })
    assert.throws(() => line.send('closed', [-1]), { code: 'EBADF' })
    assert.equal(line.inbox.receive(line.right, 0, 100), WOULD_BLOCK) // nothing of these was sent
  })
})

test('fds for which there is no number make Inbox.truncated, until the next receive', async () => {
  const program = fileURLToPath(new URL('./message-program.js', import.meta.url))
  const shell = ['-c', 'ulimit -n 64 && exec "$@"', 'sh', process.execPath, program]
  const { stdout, stderr, code } = await ended(start('/bin/sh', shell))
  assert.equal(code, 0, stderr)
  assert.deepEqual(JSON.parse(stdout), [
    [3, 2, true],
    [WOULD_BLOCK, 0, false],
    [4, 1, false],
    [5, 0, false],
  ])
})

test('Inbox.receive() puts bytes from `start` on, at most `limit` and what there is room for', () => {
  using line = new Line()
  const inbox = new Inbox(8)
  line.send('0123456789')
  inbox.bytes.fill(46)
  assert.equal(inbox.receive(line.right, 2, 3), 3)
  assert.equal(Buffer.from(inbox.bytes).toString('latin1'), '..012...')
  assert.equal(inbox.receive(line.right, 6, 100), 2)
  assert.equal(Buffer.from(inbox.bytes).toString('latin1'), '..012.34')
  assert.equal(inbox.view.getUint8(2), 48)
})

test('Inbox.receive() tells nothing there from the end of the stream', () => {
  using line = new Line()
  assert.equal(WOULD_BLOCK, -1)
  assert.equal(line.inbox.receive(line.right, 0, 100), WOULD_BLOCK)
  line.send('last')
  closeFd(line.left)
  assert.deepEqual(line.receive(), ['last', 0])
  assert.equal(line.inbox.receive(line.right, 0, 100), 0)
})

test('Inbox.receive() throws ECONNRESET when the peer left without reading all', () => {
  using line = new Line()
  sendBytes(line.right, new Uint8Array(1))
  closeFd(line.left)
  assert.throws(() => line.inbox.receive(line.right, 0, 100), { code: 'ECONNRESET' })
  assert.throws(() => line.inbox.receive(-1, 0, 100), { code: 'EBADF' })
})

test('sending to a peer that has left is EPIPE and no signal', () => {
  using line = new Line()
  closeFd(line.right)
  assert.throws(() => line.send('x'), { code: 'EPIPE' })
  assert.throws(() => line.send('x', [0]), { code: 'EPIPE' })
  assert.throws(() => sendBytes(line.left, new Uint8Array(1)), { code: 'EPIPE' })
})

test('Outbox.send() and sendBytes() send what the socket takes, then would block', () => {
  using line = new Line()
  const size = 8 * 2 ** 20 // more than any socket buffer here
  const outbox = new Outbox(size)
  for (let i = 0; i < size; i++) outbox.bytes[i] = i % 251
  let sent = outbox.send(line.left, size)
  assert.ok(sent > 0 && sent < size, `${sent}`)
  assert.equal(outbox.send(line.left, size), WOULD_BLOCK)
  assert.equal(outbox.send(line.left, size, [0]), WOULD_BLOCK)
  assert.equal(sendBytes(line.left, outbox.bytes.subarray(sent)), WOULD_BLOCK)

  const received = new Uint8Array(size)
  for (let got = 0; got < size;) {
    got += receiveInto(line.right, received.subarray(got))
    if (sent < size) sent += Math.max(0, sendBytes(line.left, outbox.bytes.subarray(sent)))
  }
  assert.ok(Buffer.from(received.buffer).equals(Buffer.from(outbox.bytes.buffer)))
})

test('fds of a message that is sent in part go with that part', () => {
  using fds = new Fds()
  using line = new Line()
  const size = 8 * 2 ** 20
  const outbox = new Outbox(size)
  assertKeepsFds(() => {
    const sent = outbox.send(line.left, size, [0, 1])
    assert.ok(sent > 0 && sent < size, `${sent}`)
    let count = 0
    for (let got = 0; got < sent;) {
      got += line.inbox.receive(line.right, 0, 64 * 1024)
      for (const fd of line.inbox.fds.splice(0)) {
        count++
        closeFd(fds.own(fd))
      }
    }
    assert.equal(count, 2)
  })
})

test('sendBytes() sends fds with the first byte, and not at all when nothing goes', () => {
  using line = new Line()
  const bytes = Buffer.from('with two')
  assert.equal(sendBytes(line.left, bytes, [line.left, line.right]), 8)
  assert.equal(sendBytes(line.left, bytes), 8)
  assert.deepEqual(line.receive(), ['with two', 2])
  assert.deepEqual(line.receive(), ['with two', 0])
  while (sendBytes(line.left, Buffer.alloc(64 * 1024)) !== WOULD_BLOCK);
  assert.equal(sendBytes(line.left, bytes, [line.left]), WOULD_BLOCK)
})

test('receiveInto() fills the memory it is given, and its fds are closed by the kernel', () => {
  using line = new Line()
  assertKeepsFds(() => {
    const target = new Uint8Array(16)
    line.send('abcdef', [0, 1])
    assert.equal(receiveInto(line.right, target.subarray(4, 8)), 4)
    assert.equal(receiveInto(line.right, target.subarray(8)), 2)
    assert.equal(Buffer.from(target).toString('latin1', 4, 10), 'abcdef')
    assert.deepEqual([...target.subarray(0, 4), ...target.subarray(10)], Array(10).fill(0))
    assert.equal(receiveInto(line.right, target), WOULD_BLOCK)
  })
  closeFd(line.left)
  assert.equal(receiveInto(line.right, new Uint8Array(4)), 0)
  assert.throws(() => receiveInto(-1, new Uint8Array(4)), { code: 'EBADF' })
})

test('messages with fds leave no fd behind, received, refused or lost with the socket', () => {
  assertKeepsFds(() => {
    using line = new Line()
    for (let i = 0; i < 1000; i++) {
      line.send('x', [0, 1, 2])
      assert.deepEqual(line.receive(), ['x', 3])
    }
    line.send('never received', [0, 1, 2])
  })
})
