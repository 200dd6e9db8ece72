import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, statSync, unlinkSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isHeldBy, isLocked, lockHolder, tryLockFile } from '../../src/os/file-lock.ts'
import { ended, start } from '../support/child.ts'
import { assertKeepsFds, Fds, makePipe } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

/** Starts a process that locks `path`. @returns it, and whether it could */
async function lockElsewhere(path: string): Promise<{ child: ChildProcess; answer: string }> {
  const program = fileURLToPath(new URL('./file-lock-program.js', import.meta.url))
  const child = start(process.execPath, [program, path])
  assert.ok(child.stdout !== null)
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, answer: String(chunk).trim() }
}

test('tryLockFile() makes the file, for its owner alone, with our pid in it', () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  const lock = tryLockFile(path)
  assert.ok(lock !== undefined)
  assert.equal(readFileSync(path, 'utf8'), `${process.pid}\n`)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(lockHolder(path), process.pid)
  lock.release()
})

test('isLocked() says whether somebody holds the lock, and takes nothing', () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  assertKeepsFds(() => {
    assert.equal(isLocked(path), false)
    const lock = tryLockFile(path)
    assert.equal(isLocked(path), true)
    lock?.release()
    assert.equal(isLocked(path), false)
    tryLockFile(path)?.release()
  })
})

test('isHeldBy() says who holds the lock, and keeps nobody from it', async () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  assert.equal(isHeldBy(path, process.pid), false)
  const lock = tryLockFile(path)
  assert.equal(isHeldBy(path, process.pid), true)
  assert.equal(isHeldBy(scratch.write('other', `${process.pid}\n`), process.pid), false)
  lock?.release()
  assert.equal(isHeldBy(path, process.pid), false)
  const { child } = await lockElsewhere(path)
  assert.deepEqual([isHeldBy(path, process.pid), isHeldBy(path, child.pid ?? 0)], [false, true])
  child.kill()
  await ended(child)
})

test('tryLockFile() is refused while this process has the lock, and not afterwards', () => {
  using scratch = new Scratch()
  const path = scratch.write('lock', '4194304999\n')
  assertKeepsFds(() => {
    const lock = tryLockFile(path)
    assert.ok(lock !== undefined)
    assert.equal(tryLockFile(path), undefined)
    assert.equal(lockHolder(path), process.pid) // not what was there, and not the loser
    lock.release()
    const next = tryLockFile(path)
    assert.ok(next !== undefined)
    next.release()
  })
})

test('FileLock.release() twice closes nothing of somebody else', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const lock = tryLockFile(`${scratch.path}/lock`)
  lock?.release()
  const [reader, writer] = makePipe() // the number that the lock had among them
  fds.own(reader)
  fds.own(writer)
  assertKeepsFds(() => lock?.release())
})

test('tryLockFile() is refused while another process has the lock, until it is killed', async () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  const { child, answer } = await lockElsewhere(path)
  assert.equal(answer, 'locked')
  assert.equal(tryLockFile(path), undefined)
  assert.equal(lockHolder(path), child.pid)
  child.kill('SIGKILL')
  assert.equal((await ended(child)).signal, 'SIGKILL')
  const lock = tryLockFile(path)
  assert.ok(lock !== undefined)

  const loser = await lockElsewhere(path)
  assert.equal(loser.answer, 'refused')
  await ended(loser.child)
  lock.release()
  const winner = await lockElsewhere(path)
  assert.equal(winner.answer, 'locked')
  winner.child.stdin?.end()
  await ended(winner.child)
})

test('the holder may unlink the file: whoever comes then locks a new one, alone', () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  const old = tryLockFile(path)
  assert.ok(old !== undefined)
  unlinkSync(path)
  const next = tryLockFile(path)
  assert.ok(next !== undefined)
  assert.equal(tryLockFile(path), undefined)
  old.release()
  assert.equal(tryLockFile(path), undefined) // the old lock was for the old file
  next.release()
})

test('of many processes that lock, unlink and release, one at a time has the lock', async () => {
  using scratch = new Scratch()
  const program = fileURLToPath(new URL('./file-lock-race.js', import.meta.url))
  const racers = [1, 2, 3].map(() => start(process.execPath, [program, scratch.path]))
  for (const { code, stdout, stderr } of await Promise.all(racers.map(ended))) {
    assert.equal(stderr, '')
    assert.equal(stdout, 'done\n')
    assert.equal(code, 0)
  }
})

test('tryLockFile() throws when the file cannot be made, and leaves no fd', () => {
  using scratch = new Scratch()
  mkdirSync(`${scratch.path}/folder`)
  assertKeepsFds(() => {
    assert.throws(() => tryLockFile(`${scratch.path}/none/lock`), { code: 'ENOENT' })
    assert.throws(() => tryLockFile(`${scratch.path}/folder`), { code: 'EISDIR' })
    // the device that is always full: the pid cannot be written
    assert.throws(() => tryLockFile('/dev/full'), { code: /^(EINVAL|ENOSPC)$/ })
  })
})

test('lockHolder() is undefined when there is no pid to be read', () => {
  using scratch = new Scratch()
  assert.equal(lockHolder(`${scratch.path}/none`), undefined)
  assert.equal(lockHolder(scratch.write('empty', '')), undefined)
  assert.equal(lockHolder(scratch.write('text', 'somebody\n')), undefined)
  const path = scratch.write('pid', '123\n')
  assert.equal(lockHolder(path), 123)
  renameSync(path, `${path}.old`)
  assert.equal(lockHolder(path), undefined)
})

test('FileLock.share() lets others share it, and nobody have it alone, until the last lets go', () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  assertKeepsFds(() => {
    const first = tryLockFile(path, { text: 'first' })
    assert.equal(tryLockFile(path, { shared: true }), undefined)
    assert.equal(first?.share(), true)
    const second = tryLockFile(path, { shared: true })
    assert.ok(second !== undefined)
    assert.equal(tryLockFile(path), undefined)
    assert.equal(readFileSync(path, 'utf8'), 'first')
    first.release()
    assert.equal(tryLockFile(path), undefined)
    assert.equal(second.unshare(), true)
    assert.equal(tryLockFile(path, { shared: true }), undefined)
    second.release()
    assert.equal(second.share(), false)
    tryLockFile(path)?.release()
  })
})

test('FileLock.unshare() where others share it loses the lock, and keeps no fd', () => {
  using scratch = new Scratch()
  const path = `${scratch.path}/lock`
  assertKeepsFds(() => {
    const [first, second] = [
      tryLockFile(path, { shared: true }),
      tryLockFile(path, { shared: true }),
    ]
    assert.equal(first?.unshare(), false)
    first.release()
    assert.equal(second?.unshare(), true)
    second.release()
  })
})
