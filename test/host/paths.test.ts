/** Where things are, and what keeps a run-time root from being used. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { mdevDirectory, mdevSocket, prepareRoot, runtimeRoot } from '../../src/host/paths.ts'
import { Scratch } from '../support/scratch.ts'
import { ClaimingProcess, namesBelow, NOBODY, UUID } from './support.ts'

const isRoot = process.geteuid?.() === 0
/** Who an ordinary user is here. */
const USER = isRoot ? NOBODY : process.geteuid?.()

describe('runtimeRoot()', () => {
  // DESIGN.md, "Names and places": environment, root's, a user's
  const table = [
    [{ MDEVKIT_ROOT: '/a', XDG_RUNTIME_DIR: '/b' }, '/a', '/a'],
    [{ MDEVKIT_ROOT: '', XDG_RUNTIME_DIR: '/b' }, '/run/mdevkit', '/b/mdevkit'],
    [{ XDG_RUNTIME_DIR: '/run/user/7' }, '/run/mdevkit', '/run/user/7/mdevkit'],
    [{ XDG_RUNTIME_DIR: '' }, '/run/mdevkit', `/tmp/mdevkit-${USER}`],
    [{}, '/run/mdevkit', `/tmp/mdevkit-${USER}`],
  ] as const

  test('of a user is MDEVKIT_ROOT, else below XDG_RUNTIME_DIR, else below /tmp', async () => {
    await using user = new ClaimingProcess()
    await user.ask({ verb: 'become', uid: NOBODY })
    for (const [environment, , expected] of table) {
      assert.deepEqual(await user.ask({ verb: 'runtimeRoot', environment }), { value: expected })
    }
  })

  if (isRoot) {
    test('of root is MDEVKIT_ROOT, else /run/mdevkit', () => {
      for (const [environment, expected] of table) assert.equal(runtimeRoot(environment), expected)
    })
  }
})

describe('mdevDirectory() and mdevSocket()', () => {
  test('are <root>/devices/<uuid> and cntrl in there', () => {
    assert.equal(mdevDirectory('/r', UUID), `/r/devices/${UUID}`)
    assert.equal(mdevSocket(mdevDirectory('/r', UUID)), `/r/devices/${UUID}/cntrl`)
  })
})

describe('prepareRoot()', () => {
  test('makes a directory for this user alone, and takes it again', () => {
    using scratch = new Scratch()
    const root = join(scratch.path, 'a/b')
    prepareRoot(root)
    prepareRoot(root)
    assert.equal(statSync(root).mode & 0o777, 0o700)
  })

  test('refuses a file with EEXIST, and one in the way with ENOTDIR', () => {
    using scratch = new Scratch()
    const file = scratch.write('file', '')
    assert.throws(() => prepareRoot(file), { code: 'EEXIST' })
    assert.throws(() => prepareRoot(join(file, 'root')), { code: 'ENOTDIR' })
  })

  test('refuses a link with EPERM: somebody else decides where it leads', () => {
    using scratch = new Scratch()
    mkdirSync(join(scratch.path, 'directory'))
    const link = join(scratch.path, 'link')
    symlinkSync('directory', link)
    assert.throws(() => prepareRoot(link), { code: 'EPERM', message: /run-time root .*link/ })
  })

  test('refuses a directory that belongs to somebody else with EPERM', async () => {
    await using user = new ClaimingProcess()
    await user.ask({ verb: 'become', uid: NOBODY })
    const { code } = await user.ask({ verb: 'prepareRoot', root: '/etc' }) // root's, everywhere
    assert.equal(code, 'EPERM')
  })

  test('refuses where this user may not write with EACCES, and makes nothing', async () => {
    using scratch = new Scratch()
    chmodSync(scratch.path, 0o555)
    await using user = new ClaimingProcess()
    await user.ask({ verb: 'become', uid: NOBODY })
    for (const root of ['root', 'a/b']) {
      const { code } = await user.ask({ verb: 'prepareRoot', root: join(scratch.path, root) })
      assert.equal(code, 'EACCES')
    }
    assert.deepEqual(namesBelow(scratch.path), [])
  })

  test('works for a user whom the passwd file does not name, as in many containers', async () => {
    using scratch = new Scratch()
    chmodSync(scratch.path, 0o777)
    await using user = new ClaimingProcess()
    await user.ask({ verb: 'become', uid: 54_321 })
    const root = join(scratch.path, 'root')
    assert.deepEqual(await user.ask({ verb: 'prepareRoot', root }), {})
    assert.equal(statSync(root).uid, isRoot ? 54_321 : USER)
  })
})

test('prepareRoot() refuses a root that others may write to', () => {
  using scratch = new Scratch()
  chmodSync(scratch.path, 0o777)
  assert.throws(() => prepareRoot(scratch.path), { code: 'EPERM', message: /others may write/ })
})
