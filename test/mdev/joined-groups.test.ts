/** Groups that mdevs of several parents join, without hosts: two parents in one process. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { choice } from '../../src/mdev/attribute.ts'
import { type Claim, LocalClaims } from '../../src/mdev/claims.ts'
import { checkDriver } from '../../src/mdev/check-driver.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import type { GroupUser } from '../../src/mdev/group.ts'
import type { GroupPlace } from '../../src/mdev/joined-group.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import type { MdevSession } from '../../src/mdev/mdev-session.ts'
import { snapshotOfParent } from '../../src/mdev/state.ts'
import {
  Bench,
  type BenchOptions,
  deferred,
  driverOf,
  ManualClock,
  NO_MEMORY,
  probeNothing,
  uuid,
} from './support.ts'

const GROUP = uuid(0xff)
const OTHER = uuid(0xfe)
const [A, B, C, D] = [uuid(1), uuid(2), uuid(3), uuid(4)]

/** A process that opens mdevs. */
class Process {
  readonly description: string
  readonly process: string
  readonly sessions = new Map<MdevDevice, MdevSession>()

  constructor(pid: number) {
    this.description = `pid ${pid} (vmm)`
    this.process = String(pid)
  }

  async open(mdev: MdevDevice): Promise<void> {
    const user: GroupUser = {
      description: this.description,
      process: this.process,
      evict: () => this.close(mdev),
    }
    const session = mdev.open(user, NO_MEMORY)
    this.sessions.set(mdev, session)
    await session.ready
  }

  close(mdev: MdevDevice): void {
    this.sessions.get(mdev)?.close()
    this.sessions.delete(mdev)
  }
}

/** Parents that share their claims, and what their drivers hear, in order. */
class Machine {
  readonly claims = new LocalClaims()
  readonly clock = new ManualClock()
  readonly heard: string[] = []

  parent(name: string, parts: Partial<Driver> = {}, options: BenchOptions = {}): Bench {
    const say = (what: string) => this.heard.push(`${name} ${what}`)
    const uuids = (list: readonly { readonly uuid: string }[]) =>
      list.map((one) => one.uuid.slice(-1)).join('')
    const driver = driverOf({
      types: { 1: { peerToPeer: true }, lone: {} },
      groupOpen: ({ number, user, mdevs, members }) =>
        void say(`open ${number} by ${user}: ${uuids(mdevs)} of ${uuids(members)}`),
      groupClose: ({ mdevs }) => void say(`close ${uuids(mdevs)}`),
      probe: (mdev) => ({
        ...probeNothing(mdev),
        reset: () => void say(`reset ${uuids([mdev])}`),
        remove: () => void say(`remove ${uuids([mdev])}`),
      }),
      ...parts,
    })
    return new Bench(driver, { name, claims: this.claims, clock: this.clock, ...options })
  }

  take(): string[] {
    return this.heard.splice(0)
  }
}

const join = (group: string) => [['group', group]] as const

/** Two parents, each with one mdev in one group. */
async function pair() {
  const machine = new Machine()
  const [x, y] = [machine.parent('x'), machine.parent('y')]
  const a = await x.parent.create('test-1', A, join(GROUP))
  const b = await y.parent.create('test-1', B, join(GROUP))
  return { machine, x, y, a, b }
}

describe('The setting group', () => {
  test('is there for types that are peer-to-peer, and the snapshot says which', async () => {
    const { x, a } = await pair()
    const { types, attributes, mdevs } = snapshotOfParent(x.parent)
    assert.deepEqual(
      types.map(({ name, peerToPeer }) => [name, peerToPeer]),
      [
        ['test-1', true],
        ['test-lone', undefined],
      ],
    )
    const [group] = attributes
    assert.deepEqual([group?.name, group?.change, group?.default], ['group', 'live', ''])
    assert.deepEqual(mdevs[0]?.attributes, [['group', GROUP]])
    assert.equal(mdevs[0].group, a.group.number)
    assert.deepEqual(snapshotOfParent(new Bench(driverOf()).parent).attributes, [])
  })

  test('gives all members one number, which is free again when the last has gone', async () => {
    const { x, y, a, b } = await pair()
    const lone = await x.parent.create('test-1', C)
    assert.deepEqual(
      [a, b, lone].map(({ group }) => group.number),
      [1, 1, 0],
    )
    assert.deepEqual(
      [a, lone].map(({ group }) => group.uuid),
      [GROUP, undefined],
    )
    await x.parent.remove(A)
    assert.equal((await x.parent.create('test-1', A, join(GROUP.toUpperCase()))).group.number, 1)
    await x.parent.remove(A)
    await y.parent.remove(B)
    assert.equal((await x.parent.create('test-1', A)).group.number, 1)
  })

  test('is EINVAL where it is no UUID, and then nothing has been created', async () => {
    const { x } = await pair()
    for (const bad of ['x', '7', `{${GROUP}}`, ' ', `${GROUP}\n`]) {
      await assert.rejects(x.parent.create('test-1', C, join(bad)), {
        code: 'EINVAL',
        message: /attribute group: .* is no uuid/,
      })
      await assert.rejects(x.parent.mdev(A).changeAttributes(join(bad)), { code: 'EINVAL' })
    }
    assert.deepEqual(
      x.parent.mdevs.map((mdev) => mdev.uuid),
      [A],
    )
  })

  test('is EOPNOTSUPP for a type that joins no groups', async () => {
    const { x } = await pair()
    const refusal = { code: 'EOPNOTSUPP', message: /group: mdevs of type test-lone join no groups/ }
    await assert.rejects(x.parent.create('test-lone', C, join(GROUP)), refusal)
    const lone = await x.parent.create('test-lone', C)
    await assert.rejects(lone.changeAttributes(join(GROUP)), refusal)
  })

  test('is not for a driver to declare beside such a type', () => {
    const group = choice(['a'], { default: 'a', description: 'its own' })
    const types = { 1: { peerToPeer: true } }
    assert.throws(() => checkDriver(driverOf({ types, attributes: { group } })), {
      code: 'EINVAL',
      message: /attribute group is not for drivers/,
    })
  })

  test('is a setting like any other of a driver that has no such type, and one of that name', async () => {
    const group = choice(['a', 'b'], { default: 'a', description: 'its own', change: 'live' })
    const { parent } = new Bench(driverOf({ attributes: { group } }))
    const mdev = await parent.create('test-1', A, [['group', 'b']])
    await mdev.changeAttributes([['group', 'a']])
    assert.deepEqual([mdev.handle.attributes, mdev.group.uuid], [{ group: 'a' }, undefined])
  })

  test('moves an mdev to another group, and by an empty text to one of its own', async () => {
    const { machine, x, a, b } = await pair()
    await a.changeAttributes(join(OTHER))
    assert.notEqual(a.group.number, b.group.number)
    assert.equal(a.group.uuid, OTHER)
    await a.changeAttributes(join(''))
    assert.equal(a.group.uuid, undefined)
    await a.changeAttributes(join(GROUP))
    assert.equal(a.group.number, b.group.number)
    assert.deepEqual(a.texts, join(GROUP))
    assert.equal(x.take().filter((event) => event === 'change').length, 3)
    const numbers = [a.group.number, machine.claims.claimGroup().value]
    assert.deepEqual(new Set(numbers).size, 2)
  })

  test('is EBUSY while a member is open, of the group that it is in or the one that is wanted', async () => {
    const { x, y, a, b } = await pair()
    const c = await x.parent.create('test-1', C)
    const vmm = new Process(7)
    await vmm.open(b)
    const refusal = { code: 'EBUSY', message: `group ${b.group.number}: in use by pid 7 (vmm)` }
    await assert.rejects(a.changeAttributes(join('')), refusal)
    await assert.rejects(a.changeAttributes(join(OTHER)), refusal)
    await assert.rejects(c.changeAttributes(join(GROUP)), refusal)
    await assert.rejects(y.parent.create('test-1', D, join(GROUP)), refusal)
    assert.deepEqual([a.group.uuid, c.group.uuid, y.parent.mdevs.length], [GROUP, undefined, 1])
    await a.changeAttributes(join(GROUP)) // where it is
    await vmm.open(c)
    await assert.rejects(c.changeAttributes(join(OTHER)), { code: 'EBUSY' })
    vmm.close(b)
    await a.changeAttributes(join(''))
  })

  test('changes with others or not at all', async () => {
    const machine = new Machine()
    const mode = choice(['a', 'b'], { default: 'a', description: '', change: 'live' })
    const refusing = deferred<void>()
    const { parent } = machine.parent('x', {
      attributes: { mode },
      probe: (mdev) => ({ ...probeNothing(mdev), changeAttributes: () => refusing.promise }),
    })
    const mdev = await parent.create('test-1', A)
    const { number } = mdev.group
    const changing = mdev.changeAttributes([['mode', 'b'], ...join(GROUP)])
    await assert.rejects(new Process(1).open(mdev), {
      code: 'EAGAIN',
      message: /its group is changing/,
    })
    refusing.reject(new ErrnoError('EIO', 'no'))
    await assert.rejects(changing, { code: 'EIO' })
    assert.deepEqual([mdev.group.number, mdev.group.uuid, mdev.texts], [number, undefined, []])
    await new Process(1).open(mdev)
    assert.equal(machine.claims.claimGroup().value, 1) // that of the group it did not join is free
  })
})

describe('A group whose files cannot be tidied up', () => {
  const failing = () => {
    throw new ErrnoError('EACCES', 'rm')
  }

  /** Claims with one thing that fails when it is given back, and then has been. */
  class Failing extends LocalClaims {
    failsAtOwn = false
    failsAtJoined = false

    override claimGroup(): Claim<number> {
      const claim = super.claimGroup()
      const release = () => {
        claim.release()
        if (this.failsAtOwn) failing()
      }
      return { value: claim.value, release }
    }

    override async joinGroup(...args: Parameters<LocalClaims['joinGroup']>): Promise<GroupPlace> {
      const place = await super.joinGroup(...args)
      const leave = () => {
        place.leave()
        if (this.failsAtJoined) failing()
      }
      return { ...place, leave }
    }
  }

  test('is left all the same, and the mdev can be opened and changed', async () => {
    const claims = new Failing()
    const x = new Machine().parent('x', {}, { claims })
    const mdev = await x.parent.create('test-1', A, join(GROUP))
    claims.failsAtJoined = true
    await mdev.changeAttributes(join(OTHER))
    assert.equal(mdev.group.uuid, OTHER)
    assert.match(x.logged.join('\n'), /leaving group 1.*EACCES/s)
    claims.failsAtJoined = false
    await new Process(7).open(mdev)
    await assert.rejects(mdev.changeAttributes(join('')), { code: 'EBUSY', message: /in use by/ })
  })

  test('is joined at creation all the same', async () => {
    const claims = new Failing()
    const x = new Machine().parent('x', {}, { claims })
    claims.failsAtOwn = true
    const mdev = await x.parent.create('test-1', A, join(GROUP))
    assert.equal(mdev.group.uuid, GROUP)
    assert.match(x.logged.join('\n'), /leaving group 0.*EACCES/s)
    claims.failsAtOwn = false
    await x.parent.remove(A)
    assert.equal(claims.claimGroup().value, 0)
  })
})

describe('A joined group', () => {
  test('has one user process; the second is EBUSY, and the same one opens as many as it likes', async () => {
    const { machine, a, b } = await pair()
    const [first, second] = [new Process(7), new Process(8)]
    await first.open(a)
    await assert.rejects(second.open(b), {
      code: 'EBUSY',
      message: `group ${a.group.number}: in use by pid 7 (vmm)`,
    })
    assert.equal(b.user, undefined)
    await first.open(b)
    await assert.rejects(first.open(b), { code: 'EBUSY' })
    first.close(a)
    await assert.rejects(second.open(a), { code: 'EBUSY' })
    first.close(b)
    machine.take()
    await second.open(a)
    assert.deepEqual(machine.take(), [
      `x open ${a.group.number} by pid 8 (vmm): 1 of 12`,
      `y open ${a.group.number} by pid 8 (vmm): 2 of 12`,
    ])
  })

  test('reaches each driver once, with the whole group, at first open and after last close', async () => {
    const { machine, a, b } = await pair()
    const vmm = new Process(7)
    await vmm.open(b)
    const opened = [
      `y open ${a.group.number} by pid 7 (vmm): 2 of 12`,
      `x open ${a.group.number} by pid 7 (vmm): 1 of 12`,
    ]
    assert.deepEqual(machine.take().toSorted(), opened.toSorted())
    await vmm.open(a)
    vmm.close(b)
    assert.deepEqual(machine.take(), ['y reset 2'])
    await vmm.open(b)
    vmm.close(b)
    assert.deepEqual(machine.take(), ['y reset 2'])
    vmm.close(a)
    assert.deepEqual(machine.take(), ['x reset 1', 'x close 1', 'y close 2'])
  })

  test('is shown without an mdev that is still joining, and then may not', async () => {
    const [asked, gate] = [deferred<void>(), deferred<void>()]
    class Gated extends LocalClaims {
      override async joinGroup(...args: Parameters<LocalClaims['joinGroup']>): Promise<GroupPlace> {
        if (args[1].uuid === C) {
          asked.resolve()
          await gate.promise
        }
        return super.joinGroup(...args)
      }
    }
    const machine = new Machine()
    const claims = new Gated()
    const [x, y] = ['x', 'y'].map((name) => machine.parent(name, {}, { claims }))
    await x!.parent.create('test-1', A, join(GROUP))
    const b = await y!.parent.create('test-1', B, join(GROUP))
    const joining = x!.parent.create('test-1', C, join(GROUP))
    await asked.promise
    const vmm = new Process(7)
    await vmm.open(b)
    const heard = machine.take()
    assert.ok(heard.includes('x open 1 by pid 7 (vmm): 1 of 12'), heard.join('; '))
    gate.resolve()
    await assert.rejects(joining, { code: 'EBUSY' })
    machine.take()
    vmm.close(b)
    assert.deepEqual(machine.take(), ['y reset 2', 'x close 1', 'y close 2'])
  })

  test('with two members of one parent reaches that driver once', async () => {
    const { machine, x, a } = await pair()
    const c = await x.parent.create('test-1', C, join(GROUP))
    const vmm = new Process(7)
    await vmm.open(c)
    await vmm.open(a)
    assert.deepEqual(machine.take(), [
      `x open ${a.group.number} by pid 7 (vmm): 13 of 123`,
      `y open ${a.group.number} by pid 7 (vmm): 2 of 123`,
    ])
    vmm.close(c)
    vmm.close(a)
    assert.deepEqual(machine.take().slice(2), ['x close 13', 'y close 2'])
  })

  test('that one driver refuses is not opened, and the others are told of the end', async () => {
    const { machine, a } = await pair()
    let refuses = true
    const z = machine.parent('z', {
      groupOpen() {
        if (refuses) throw new ErrnoError('ENOSPC', 'no link left')
      },
    })
    await z.parent.create('test-1', C, join(GROUP))
    const vmm = new Process(7)
    await assert.rejects(vmm.open(a), {
      code: 'ENOSPC',
      message: `group ${a.group.number}: parent z: no link left`,
    })
    assert.deepEqual([a.user, a.group.user], [undefined, undefined])
    assert.deepEqual(machine.take().slice(2), ['x close 1', 'y close 2'])
    refuses = false
    await new Process(8).open(a)
  })

  test('whose driver does not answer is ETIMEDOUT, and free for the next', async () => {
    const { machine, a } = await pair()
    const slow = deferred<void>()
    const answers = [slow.promise]
    const z = machine.parent('z', {
      groupOpen: () => answers.shift(),
      groupClose: () => void machine.heard.push('z close'),
    })
    await z.parent.create('test-1', C, join(GROUP))
    const refused = assert.rejects(new Process(7).open(a), { code: 'ETIMEDOUT' })
    await assert.rejects(new Process(8).open(a), { code: 'EBUSY' })
    machine.clock.expire()
    await refused
    assert.deepEqual([a.user, machine.clock.waits], [undefined, 0])
    const next = new Process(8).open(a) // waits until the driver is done with the first
    slow.resolve()
    await next
    assert.equal(machine.take().filter((line) => line === 'z close').length, 1)
  })

  test('is left by a client that goes while it is being opened', async () => {
    const { machine, a } = await pair()
    const slow = deferred<void>()
    const z = machine.parent('z', { groupOpen: () => slow.promise })
    await z.parent.create('test-1', C, join(GROUP))
    const vmm = new Process(7)
    const refused = assert.rejects(vmm.open(a), { code: 'ECONNABORTED' })
    vmm.close(a)
    await refused
    assert.deepEqual(machine.take().slice(2), ['x close 1', 'y close 2'])
    const next = new Process(8).open(a)
    slow.resolve()
    await next
  })

  test('is left by an mdev that is removed while it is being opened', async () => {
    const { machine, x, a } = await pair()
    const slow = deferred<void>()
    const z = machine.parent('z', { groupOpen: () => slow.promise })
    await z.parent.create('test-1', C, join(GROUP))
    const refused = assert.rejects(new Process(7).open(a), { code: 'ECONNABORTED' })
    await assert.rejects(x.parent.remove(A), { code: 'EBUSY', message: /pid 7/ })
    await x.parent.remove(A, { force: true })
    await refused
    assert.deepEqual(x.parent.mdevs, [])
    assert.deepEqual(machine.take().slice(2), ['x close 1', 'x remove 1', 'y close 2'])
    await z.parent.remove(C) // although its driver is not done
    slow.resolve()
  })

  test('keeps the devices that its drivers have been shown: none is built anew while it is in use', async () => {
    const mode = choice(['a', 'b'], { default: 'a', description: '' })
    const machine = new Machine()
    const [x, y] = [machine.parent('x', { attributes: { mode } }), machine.parent('y')]
    const a = await x.parent.create('test-1', A, join(GROUP))
    const b = await y.parent.create('test-1', B, join(GROUP))
    const vmm = new Process(7)
    await vmm.open(b)
    await assert.rejects(a.changeAttributes([['mode', 'b']]), {
      code: 'EBUSY',
      message: /in use by pid 7/,
    })
    vmm.close(b)
    const changed = a.changeAttributes([['mode', 'b']])
    await assert.rejects(vmm.open(a), { code: 'EAGAIN' })
    await changed
    assert.deepEqual(a.values, { mode: 'b', group: GROUP })
    await vmm.open(a)
  })

  test('goes on without a member that is removed, whose driver hears of the end first', async () => {
    const { machine, x, y, a, b } = await pair()
    const vmm = new Process(7)
    await vmm.open(a)
    machine.take()
    await y.parent.remove(B)
    assert.deepEqual(machine.take(), ['y close 2', 'y remove 2'])
    assert.equal(b.state, 'removed')
    await assert.rejects(y.parent.create('test-1', D, join(GROUP)), { code: 'EBUSY' })
    machine.take()
    await x.parent.remove(A, { force: true })
    assert.deepEqual(machine.take(), ['x reset 1', 'x close 1', 'x remove 1'])
    assert.deepEqual(vmm.sessions.size, 0)
    await y.parent.create('test-1', D, join(GROUP))
  })

  test('loses the members of a parent that is unregistered', async () => {
    const { machine, x, a, b } = await pair()
    const vmm = new Process(7)
    await vmm.open(a)
    await vmm.open(b)
    machine.take()
    await x.parent.unregister({ force: true })
    assert.deepEqual(machine.take(), ['x reset 1', 'x close 1', 'x remove 1'])
    await assert.rejects(new Process(8).open(b), { code: 'EBUSY' })
    vmm.close(b)
    assert.deepEqual(machine.take(), ['y reset 2', 'y close 2'])
    await new Process(8).open(b)
  })
})
