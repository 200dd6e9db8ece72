import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readSync, statSync, symlinkSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { test } from 'node:test'
import { closeFd, fdFlags } from '../../src/os/fd.ts'
import {
  acceptUnix,
  checkSocketPath,
  connectUnix,
  listenUnix,
  MAX_SOCKET_PATH,
  peerCredentials,
  setSendBuffer,
  socketPair,
} from '../../src/os/unix-socket.ts'
import { sendBytes, WOULD_BLOCK } from '../../src/os/message.ts'
import { assertKeepsFds, Fds, makePipe } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const O_NONBLOCK = 0o4000

/** A path of `length` bytes that can be listened at. */
function pathOfLength(scratch: Scratch, length: number): string {
  const path = `${scratch.path}/`
  return path + 'x'.repeat(length - path.length)
}

test('socketPair() makes two ends that are connected and do not block', () => {
  using fds = new Fds()
  const [left, right] = socketPair()
  fds.own(left)
  fds.own(right)
  assert.equal(writeSync(left, 'ping'), 4)
  const bytes = Buffer.alloc(10)
  assert.equal(readSync(right, bytes), 4)
  assert.equal(bytes.toString('latin1', 0, 4), 'ping')
  for (const fd of [left, right]) {
    assert.equal(fdFlags(fd) & O_NONBLOCK, O_NONBLOCK)
    assert.throws(() => readSync(fd, bytes), { code: 'EAGAIN' })
  }
})

test('acceptUnix() returns undefined when nobody waits, and a client once', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const path = `${scratch.path}/socket`
  const listener = fds.own(listenUnix(path, 0o600))
  assert.equal(acceptUnix(listener), undefined)
  const client = fds.own(connectUnix(path))
  const server = acceptUnix(listener)
  assert.ok(server !== undefined)
  fds.own(server)
  assert.equal(acceptUnix(listener), undefined)
  writeSync(client, 'hello')
  assert.equal(readSync(server, Buffer.alloc(10)), 5)
  assert.equal(fdFlags(client) & O_NONBLOCK, O_NONBLOCK)
  assert.equal(fdFlags(server) & O_NONBLOCK, O_NONBLOCK)
})

test('acceptUnix() throws for what is no listener', () => {
  using fds = new Fds()
  const [reader, writer] = makePipe()
  fds.own(reader)
  fds.own(writer)
  assert.throws(() => acceptUnix(reader), { code: 'ENOTSOCK' })
  const [left, right] = socketPair()
  fds.own(right)
  assert.throws(() => acceptUnix(fds.own(left)), { code: 'EINVAL' })
})

test('listenUnix() is reached by other libraries, and reaches them', async () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const path = `${scratch.path}/socket`
  const listener = fds.own(listenUnix(path, 0o600))
  const client = connect(path)
  await once(client, 'connect')
  const server = fds.own(acceptUnix(listener) ?? -1)
  writeSync(server, 'welcome')
  const [chunk] = (await once(client, 'data')) as [Buffer]
  assert.equal(String(chunk), 'welcome')
  client.destroy()
})

test('listenUnix() gives the socket file the mode asked for, whatever the umask', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  for (const umask of [0o022, 0o777, 0]) {
    const old = process.umask(umask)
    try {
      for (const mode of [0o600, 0o660, 0o666]) {
        const path = `${scratch.path}/${umask}-${mode}`
        fds.own(listenUnix(path, mode))
        assert.equal(statSync(path).mode & 0o777, mode)
        assert.ok(statSync(path).isSocket())
      }
    } finally {
      process.umask(old)
    }
  }
})

test('a socket path of 107 bytes is taken, one of 108 is ENAMETOOLONG', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  assert.equal(MAX_SOCKET_PATH, 107) // unix(7): sun_path has 108, with the NUL
  const longest = pathOfLength(scratch, 107)
  checkSocketPath(longest)
  const listener = fds.own(listenUnix(longest, 0o600))
  assert.ok(existsSync(longest))
  fds.own(connectUnix(longest))
  assert.notEqual(fds.own(acceptUnix(listener) ?? -1), -1)

  const tooLong = pathOfLength(scratch, 108)
  assertKeepsFds(() => {
    for (const use of [checkSocketPath, connectUnix, (path: string) => listenUnix(path, 0o600)]) {
      assert.throws(() => use(tooLong), { code: 'ENAMETOOLONG' })
      // bytes count, not characters
      assert.throws(() => use('ä'.repeat(54)), { code: 'ENAMETOOLONG' })
    }
  })
  checkSocketPath('ä'.repeat(53))
})

test('an empty socket path, or one with a NUL, is EINVAL: it would not be a file', () => {
  using scratch = new Scratch()
  assertKeepsFds(() => {
    for (const path of ['', '\0abstract', `${scratch.path}/a\0b`]) {
      assert.throws(() => listenUnix(path, 0o600), { code: 'EINVAL' })
      assert.throws(() => connectUnix(path), { code: 'EINVAL' })
    }
  })
  assert.equal(existsSync(`${scratch.path}/a`), false)
})

test('listenUnix() refuses a path that is in use with EADDRINUSE, and leaves it alone', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const path = `${scratch.path}/socket`
  const listener = fds.own(listenUnix(path, 0o600))
  const file = scratch.write('file', 'text')
  symlinkSync('nowhere', `${scratch.path}/link`)
  assertKeepsFds(() => {
    for (const used of [path, file, scratch.path, `${scratch.path}/link`]) {
      assert.throws(() => listenUnix(used, 0o666), { code: 'EADDRINUSE' })
    }
    assert.throws(() => listenUnix(`${scratch.path}/none/socket`, 0o600), { code: 'ENOENT' })
  })
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(file).size, 4)
  fds.own(connectUnix(path))
  assert.notEqual(fds.own(acceptUnix(listener) ?? -1), -1)
})

test('connectUnix() says why not, and leaves no fd', () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/socket`
  closeFd(listenUnix(path, 0o600)) // the file stays
  mkdirSync(`${scratch.path}/folder`)
  assertKeepsFds(() => {
    assert.throws(() => connectUnix(`${scratch.path}/none`), { code: 'ENOENT' })
    assert.throws(() => connectUnix(path), { code: 'ECONNREFUSED' })
    assert.throws(() => connectUnix(scratch.write('file', '')), { code: 'ECONNREFUSED' })
    assert.throws(() => connectUnix(`${scratch.path}/folder`), { code: 'ECONNREFUSED' })
  })
})

test('connectUnix() does not wait for room in the backlog', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const path = `${scratch.path}/socket`
  fds.own(listenUnix(path, 0o600))
  assert.throws(
    () => {
      for (let i = 0; i < 1000; i++) fds.own(connectUnix(path))
    },
    { code: 'EAGAIN' },
  )
})

test('peerCredentials() are of the process at the other end', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const us = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() }
  const path = `${scratch.path}/socket`
  const listener = fds.own(listenUnix(path, 0o600))
  const client = fds.own(connectUnix(path))
  assert.deepEqual(peerCredentials(fds.own(acceptUnix(listener) ?? -1)), us)
  assert.deepEqual(peerCredentials(client), us)
  const [reader, writer] = makePipe()
  fds.own(writer)
  assert.throws(() => peerCredentials(fds.own(reader)), { code: 'ENOTSOCK' })
})

test('setSendBuffer() changes how much fits', () => {
  using fds = new Fds()
  const bytes = new Uint8Array(4096)
  const [small, large] = [4096, 65_536].map((size) => {
    const [left, right] = socketPair()
    fds.own(left)
    fds.own(right)
    setSendBuffer(left, size)
    let count = 0
    while (sendBytes(left, bytes) !== WOULD_BLOCK) count++
    return count
  })
  assert.ok(small !== undefined && large !== undefined && small > 0 && small < large)
})
