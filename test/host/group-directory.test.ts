/** What is in the directory of a joined group, as hosts write it, leave it, and as somebody else may have written it. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { FileGroups } from '../../src/host/file-groups.ts'
import { AGAIN, GroupDirectory } from '../../src/host/group-directory.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { GroupParty } from '../../src/mdev/group.ts'
import { tryLockFile } from '../../src/os/file-lock.ts'
import { Scratch } from '../support/scratch.ts'
import { ManualClock } from '../mdev/support.ts'
import { namesBelow, OTHER_UUID, UUID } from './support.ts'

const GROUP = '83b8f4f2-509f-382f-3c1e-0000000000ff'
const MEMBER = { uuid: UUID, parent: 'x', type: 'test-1', number: 3 }
const always = new AbortController().signal
const user = (pid: number, process = `? ${pid}`) => ({
  description: `pid ${pid} (vmm)`,
  process,
  evict: () => {},
})
const party = (parent: string): GroupParty => ({
  parent,
  log: silentLogger,
  hold: () => ({ ready: undefined, release: () => {} }),
})

class Bench implements Disposable {
  readonly scratch = new Scratch()
  readonly path: string
  readonly directory: GroupDirectory

  constructor() {
    this.path = join(this.scratch.path, 'groups', GROUP)
    this.directory = new GroupDirectory(this.path)
  }

  [Symbol.dispose](): void {
    this.scratch[Symbol.dispose]()
  }
}

describe('GroupDirectory', () => {
  test('lists members while they are there, and leaves nothing when the last has gone', async () => {
    using bench = new Bench()
    const { directory } = bench
    const other = { ...MEMBER, uuid: OTHER_UUID, parent: 'y' }
    const [second, first] = await directory.locked(always, () => [
      directory.enter(other),
      directory.enter(MEMBER),
    ])
    assert.deepEqual(await directory.locked(always, () => directory.members()), [MEMBER, other])
    directory.leave(UUID, first)
    assert.deepEqual(await directory.locked(always, () => directory.members()), [other])
    directory.leave(OTHER_UUID, second)
    assert.ok(!existsSync(bench.path))
    assert.deepEqual(await directory.locked(always, () => directory.members()), [])
    assert.ok(!existsSync(bench.path))
  })

  test('forgets members whose host was killed', async () => {
    using bench = new Bench()
    bench.scratch.write(`groups/${GROUP}/${UUID}`, JSON.stringify(MEMBER))
    bench.scratch.write(`groups/${GROUP}/lock`, '')
    bench.scratch.write(`groups/${GROUP}/user`, 'text')
    const { directory } = bench
    assert.deepEqual(await directory.locked(always, () => directory.members()), [])
    assert.ok(!existsSync(bench.path))
  })

  for (const [title, text] of [
    ['no JSON', 'text'],
    ['empty', ''],
    ['of another shape', '{"parent":7}'],
    ['huge', `"${'x'.repeat(20_000)}"`],
  ] as const) {
    test(`is EIO where what is locked as a member's is ${title}`, async () => {
      using bench = new Bench()
      mkdirSync(bench.path, { recursive: true })
      const held = tryLockFile(join(bench.path, UUID), { text })
      const { directory } = bench
      const looking = directory.locked(always, () => directory.members())
      await assert.rejects(looking, { code: 'EIO', message: new RegExp(UUID) })
      held?.release()
      assert.deepEqual(await directory.locked(always, () => directory.members()), [])
    })
  }

  test('is used by one process, in as many places as it likes', async () => {
    using bench = new Bench()
    const { directory } = bench
    const member = await directory.locked(always, () => directory.enter(MEMBER))
    const use = (by: ReturnType<typeof user>) =>
      directory.locked(always, (tries) => directory.use(by, 3, tries))
    const [first, again] = [await use(user(1)), await use(user(1))]
    assert.deepEqual(first.record, again.record)
    const refusal = { code: 'EBUSY', message: 'group 3: in use by pid 1 (vmm)' }
    await assert.rejects(use(user(2)), refusal)
    await assert.rejects(
      directory.locked(always, (tries) => directory.checkIdle(3, tries)),
      refusal,
    )
    first.lock.release()
    await assert.rejects(use(user(2)), refusal)
    again.lock.release()
    const next = await use(user(2))
    assert.notEqual(next.record.id, first.record.id)
    next.lock.release()
    directory.leave(UUID, member)
  })

  test('waits for the hosts of a process that has ended to notice', async () => {
    using bench = new Bench()
    const { directory } = bench
    const member = await directory.locked(always, () => directory.enter(MEMBER))
    const gone = user(1, '4194304999@1')
    const old = await directory.locked(always, (tries) => directory.use(gone, 3, tries))
    const late = directory.locked(always, () => directory.use(user(2), 3, 1000)) // not for ever
    await assert.rejects(late, { code: 'EBUSY', message: /pid 1 / })
    const tried: number[] = []
    const next = await directory.locked(always, (tries) => {
      tried.push(tries)
      if (tries === 3) old.lock.release()
      return directory.use(user(2), 3, tries)
    })
    assert.deepEqual(tried, [1, 2, 3])
    assert.equal(next.record.user, 'pid 2 (vmm)')
    next.lock.release()
    directory.leave(UUID, member)
  })

  test('that is locked all the time is waited for until somebody calls it off', async () => {
    using bench = new Bench()
    mkdirSync(bench.path, { recursive: true })
    const lock = tryLockFile(join(bench.path, 'lock'))
    const end = new AbortController()
    const waiting = bench.directory.locked(end.signal, () => AGAIN)
    end.abort(new Error('off'))
    await assert.rejects(waiting, { message: 'off' })
    lock?.release()
  })
})

describe('FileGroups.join()', () => {
  test('listens while the parent has members, and gives all back', async () => {
    using scratch = new Scratch()
    const groups = new FileGroups(scratch.path)
    const x = party('x')
    const [first, second] = [
      await groups.join(GROUP, MEMBER, x),
      await groups.join(GROUP, { ...MEMBER, uuid: OTHER_UUID }, x),
    ]
    assert.deepEqual([first.number, second.number], [0, 0])
    assert.deepEqual(readdirSync(join(scratch.path, 'groups')).toSorted(), [
      '0.lock',
      GROUP,
      'x.sock',
    ])
    first.leave()
    first.leave()
    assert.ok(existsSync(join(scratch.path, 'groups', 'x.sock')))
    second.leave()
    assert.deepEqual(namesBelow(scratch.path), ['groups'])
  })

  test('that fails leaves nothing: a parent with too long a name, a file in the way', async () => {
    using scratch = new Scratch()
    const groups = new FileGroups(scratch.path)
    const long = party('x'.repeat(100))
    await assert.rejects(groups.join(GROUP, MEMBER, long), { code: 'ENAMETOOLONG' })
    assert.deepEqual(namesBelow(scratch.path), ['groups'])
    rmdirSync(join(scratch.path, 'groups'))
    writeFileSync(join(scratch.path, 'groups'), '')
    await assert.rejects(groups.join(GROUP, MEMBER, party('x')), { code: /^(ENOTDIR|EEXIST)$/ })
  })

  test('is ETIMEDOUT where somebody keeps the group locked, and leaves no fd', async () => {
    using scratch = new Scratch()
    scratch.write(`groups/${GROUP}/lock`, '')
    const lock = tryLockFile(join(scratch.path, 'groups', GROUP, 'lock'))
    const clock = new ManualClock()
    const joining = new FileGroups(scratch.path, clock).join(GROUP, MEMBER, party('x'))
    clock.expire()
    await assert.rejects(joining, { code: 'ETIMEDOUT', message: new RegExp(`group ${GROUP}`) })
    lock?.release()
    assert.ok(!existsSync(join(scratch.path, 'groups', 'x.sock')))
  })

  test('takes a number that nobody has, beside others that are taken', async () => {
    using scratch = new Scratch()
    scratch.write('groups/0.lock', '')
    const taken = tryLockFile(join(scratch.path, 'groups', '0.lock'))
    const groups = new FileGroups(scratch.path)
    const place = await groups.join(GROUP, MEMBER, party('x'))
    assert.equal(place.number, 1)
    place.leave()
    taken?.release()
  })
})
