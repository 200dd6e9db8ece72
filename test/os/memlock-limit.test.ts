import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ownMemlockLimit, ProcessMemlock, softMemlock } from '../../src/os/memlock-limit.ts'
import { assertKeepsFds } from '../support/fds.ts'
import { LockingProcess, setLockLimit } from '../support/limited.ts'

const KiB = 1024

test('ProcessMemlock.limit() is the soft limit of the moment', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const memlock = new ProcessMemlock(client.pid)
  assert.equal(memlock.limit(), 64 * KiB)
  setLockLimit(client.pid, KiB)
  assert.equal(memlock.limit(), KiB)
  memlock.close()
})

test('softMemlock() is Infinity where there is no limit, and 0 where nothing is said of one', () => {
  // as Linux 6.18 words it
  const line = 'Max locked memory         unlimited            unlimited            bytes     \n'
  assert.equal(softMemlock(`Max processes   7  7  processes\n${line}`), Infinity)
  assert.equal(softMemlock('Max processes   7  7  processes\n'), 0)
})

test('ownMemlockLimit() is that of this process, and leaves no fd', () => {
  assertKeepsFds(() => {
    const own = new ProcessMemlock(process.pid)
    assert.equal(ownMemlockLimit(), own.limit())
    own.close()
  })
})

test('ProcessMemlock.locked() is what the process has locked itself', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const memlock = new ProcessMemlock(client.pid)
  assert.equal(memlock.locked(), 0)
  await client.lock(32 * KiB)
  assert.equal(memlock.locked(), 32 * KiB)
  memlock.close()
})

test('ProcessMemlock.hasIpcLock() is false without the capability', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const memlock = new ProcessMemlock(client.pid)
  assert.equal(memlock.hasIpcLock(), false)
  memlock.close()
})

test('ProcessMemlock.hasIpcLock() is true with the capability in our own user namespace', async () => {
  if (process.getuid?.() !== 0) throw new Error('run as root: nobody else has CAP_IPC_LOCK to give')
  await using client = await LockingProcess.start()
  const memlock = new ProcessMemlock(client.pid)
  assert.equal(memlock.hasIpcLock(), true)
  memlock.close()
})

test('ProcessMemlock.hasIpcLock() is false with the capability in a namespace of its own alone', async () => {
  await using client = await LockingProcess.start((command) => ['unshare', '-Ur', ...command])
  assert.match(readFileSync(`/proc/${client.pid}/status`, 'utf8'), /^CapEff:\s+0*1ff/m)
  const memlock = new ProcessMemlock(client.pid)
  assert.equal(memlock.hasIpcLock(), false)
  memlock.close()
})

test('ProcessMemlock knows a process that has gone', async () => {
  await using client = await LockingProcess.start()
  const memlock = new ProcessMemlock(client.pid)
  await client.end()
  assert.throws(() => memlock.limit(), { code: 'ESRCH' })
  assert.throws(() => memlock.locked(), { code: 'ESRCH' })
  assert.equal(memlock.hasIpcLock(), false)
  memlock.close()
})

test('ProcessMemlock of no process is refused and leaves no fd', () => {
  assertKeepsFds(() => {
    assert.throws(() => new ProcessMemlock(0), { code: 'ENOENT' })
    assert.throws(() => new ProcessMemlock(2 ** 31 - 1), { code: 'ENOENT' })
  })
})

test('ProcessMemlock.identity tells processes apart and is the same for one', async () => {
  await using one = await LockingProcess.start()
  await using other = await LockingProcess.start()
  const all = [one, one, other].map(({ pid }) => new ProcessMemlock(pid))
  const [first, again, third] = all.map(({ identity }) => identity)
  assert.equal(first, again)
  assert.notEqual(first, third)
  for (const memlock of all) memlock.close()
})
