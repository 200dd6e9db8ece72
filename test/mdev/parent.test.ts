/** Parents: creating and removing as mdev.md says, all or nothing, in order. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { choice, integer } from '../../src/mdev/attribute.ts'
import { LocalClaims } from '../../src/mdev/claims.ts'
import type { DeviceOps, Mdev } from '../../src/mdev/driver.ts'
import {
  Bench,
  Client,
  deferred,
  driverOf,
  IDENTITY,
  ManualClock,
  NO_MEMORY,
  probeNothing,
  uuid,
} from './support.ts'

const [A, B, C] = [uuid(0xa), uuid(0xb), uuid(0xc)]

// mdev.md 1.5 and 2.4, with what we claim around it
const CREATED = ['claim uuid', 'claim group', 'add', 'expose', 'bind']
const REMOVED = ['unbind', 'hide', 'remove', 'release group', 'release uuid']
/** "A failed create leaves nothing but a pair of uevents": mdev.md 1.3. */
const FAILED_IN_PROBE = [
  'claim uuid',
  'claim group',
  'add',
  'remove',
  'release group',
  'release uuid',
]

describe('Parent.create()', () => {
  test('claims, adds, probes, exposes and binds, in this order', async () => {
    const bench = new Bench(
      driverOf({
        probe(mdev) {
          bench.notes.push('probe')
          return probeNothing(mdev)
        },
      }),
    )
    assert.deepEqual(bench.take(), ['registered'])
    const mdev = await bench.parent.create('test-1', A)
    assert.deepEqual(bench.take(), ['claim uuid', 'claim group', 'add', 'probe', 'expose', 'bind'])
    assert.deepEqual([mdev.uuid, mdev.typeName, mdev.state], [A, 'test-1', 'active'])
    assert.equal(bench.parent.mdev(A), mdev)
    assert.deepEqual(bench.parent.mdevs, [mdev])
  })

  test('takes a UUID in either case, names the mdev in lower case, and finds it by either', async () => {
    const { parent } = new Bench(driverOf())
    const mdev = await parent.create('test-1', A.toUpperCase())
    assert.equal(mdev.uuid, A)
    assert.equal(parent.mdev(A.toUpperCase()), mdev)
    await parent.remove(A.toUpperCase())
  })

  test('accepts the nil UUID', async () => {
    const { parent } = new Bench(driverOf())
    const nil = '00000000-0000-0000-0000-000000000000'
    assert.equal((await parent.create('test-1', nil)).uuid, nil)
  })

  // mdev.md 1.3
  for (const bad of [
    '',
    '1',
    A.slice(1),
    `${A}0`,
    `${A}\n`,
    `${A}\r\n`,
    ` ${A}`,
    `{${A}}`,
    `{${A.slice(1)}`,
    `urn:uuid:${A}`,
    `${A.replaceAll('-', '')}0000`,
    A.replaceAll('-', '_'),
    A.replace('8', 'g'),
    A.replace('-', '0'),
    `${A.slice(0, -1)}\0`,
    `../../${A.slice(6)}`,
    '٨'.repeat(36),
  ]) {
    test(`refuses ${JSON.stringify(bad)} with EINVAL, before it claims anything`, async () => {
      const bench = new Bench(driverOf())
      bench.take()
      await assert.rejects(bench.parent.create('test-1', bad), { code: 'EINVAL' })
      await assert.rejects(bench.parent.remove(bad), { code: 'EINVAL' })
      assert.deepEqual(bench.take(), [])
    })
  }

  for (const bad of [
    '',
    '1',
    'test',
    'test-',
    'test-2',
    'Test-1',
    'test-1 ',
    'test-toString',
    'x-1',
  ]) {
    test(`refuses the type ${JSON.stringify(bad)} with ENOENT, saying which there are`, async () => {
      const bench = new Bench(driverOf({ types: { 1: {}, big: {} } }))
      bench.take()
      await assert.rejects(bench.parent.create(bad, A), {
        code: 'ENOENT',
        message: `type ${bad}: parent parent offers test-1, test-big`,
      })
      assert.deepEqual(bench.take(), [])
    })
  }

  test('refuses a UUID in use anywhere with EEXIST, in any case, also where none is left and while unregistering', async () => {
    const claims = new LocalClaims()
    const available = (_type: unknown, mdevs: readonly unknown[]) => 1 - mdevs.length
    const one = new Bench(driverOf({ available }), { claims })
    const other = new Bench(driverOf({ name: 'other', types: { x: {} } }), { claims })
    await one.parent.create('test-1', A)
    one.take()
    other.take()
    for (const text of [A, A.toUpperCase()]) {
      await assert.rejects(one.parent.create('test-1', text), { code: 'EEXIST' })
      await assert.rejects(other.parent.create('other-x', text), { code: 'EEXIST' })
    }
    assert.deepEqual([one.take(), other.take()], [[], []])
    await other.parent.unregister({ force: true })
    await assert.rejects(other.parent.create('other-x', A), { code: 'EEXIST' })
  })

  test('takes settings, and refuses unknown names with ENOENT and bad values with EINVAL', async () => {
    const seen: unknown[] = []
    const description = ''
    const bench = new Bench(
      driverOf({
        attributes: {
          backend: choice(['pty', 'socket'], { default: 'pty', description }),
          size: integer({ min: 1, max: 4, default: 2, description }),
        },
        probe(mdev) {
          seen.push(mdev.attributes)
          return probeNothing(mdev)
        },
      }),
    )
    bench.take()
    const { parent } = bench
    await assert.rejects(parent.create('test-1', A, [['colour', 'red']]), { code: 'ENOENT' })
    await assert.rejects(parent.create('test-1', A, [['size', '5']]), { code: 'EINVAL' })
    assert.deepEqual(bench.take(), [])
    await parent.create('test-1', A, [['size', '4']])
    await parent.create('test-1', B)
    assert.deepEqual(seen, [
      { backend: 'pty', size: 4 },
      { backend: 'pty', size: 2 },
    ])
  })

  test('gives each a group of its own, the lowest number that is free', async () => {
    const { parent } = new Bench(driverOf())
    const groups = []
    for (const name of [A, B, C]) groups.push((await parent.create('test-1', name)).group.number)
    assert.deepEqual(groups, [0, 1, 2])
    await parent.remove(B)
    await parent.remove(A)
    assert.equal((await parent.create('test-1', B)).group.number, 0)
    assert.equal((await parent.create('test-1', A)).group.number, 1)
  })

  test('of one UUID in parallel succeeds once; the others are EEXIST while the first still probes', async () => {
    const probe = deferred<void>()
    const bench = new Bench(
      driverOf({
        async probe(mdev) {
          await probe.promise
          return probeNothing(mdev)
        },
      }),
    )
    const first = bench.parent.create('test-1', A)
    await assert.rejects(bench.parent.create('test-1', A), { code: 'EEXIST' })
    await assert.rejects(bench.parent.create('test-1', A.toUpperCase()), { code: 'EEXIST' })
    probe.resolve()
    assert.equal((await first).state, 'active')
  })

  test('in parallel at the limit succeeds as often as it fits', async () => {
    const bench = new Bench(
      driverOf({
        available: (_type, mdevs) => 3 - mdevs.length,
        async probe(mdev) {
          await Promise.resolve()
          return probeNothing(mdev)
        },
      }),
    )
    const creations = Array.from({ length: 10 }, (_, i) => bench.parent.create('test-1', uuid(i)))
    const results = await Promise.allSettled(creations)
    const codes = results.map((result) =>
      result.status === 'fulfilled' ? 'made' : (result.reason as ErrnoError).code,
    )
    assert.deepEqual(codes, [...Array(3).fill('made'), ...Array(7).fill('ENOSPC')])
    assert.equal(bench.parent.mdevs.length, 3)
    // what was refused is free again
    await bench.parent.remove(uuid(0))
    await bench.parent.create('test-1', uuid(9))
  })

  test('is ENOSPC where none is left, and claims nothing for good', async () => {
    const claims = new LocalClaims()
    const bench = new Bench(driverOf({ available: () => 0 }), { claims })
    bench.take()
    await assert.rejects(bench.parent.create('test-1', A), { code: 'ENOSPC', message: /test-1/ })
    assert.deepEqual(bench.take(), ['claim uuid', 'release uuid'])
    await new Bench(driverOf(), { claims }).parent.create('test-1', A)
  })
})

describe('Parent.types', () => {
  test('offers each type as <driver>-<id>, of vfio-pci, without a limit unless the driver says', () => {
    const types = { 1: { name: 'One' }, big: {} }
    assert.deepEqual(new Bench(driverOf({ types })).parent.types, [
      {
        name: 'test-1',
        info: types[1],
        availableInstances: 4_294_967_295,
        deviceApi: 'vfio-pci',
        status: {},
      },
      {
        name: 'test-big',
        info: {},
        availableInstances: 4_294_967_295,
        deviceApi: 'vfio-pci',
        status: {},
      },
    ])
  })

  test('counts what two types share, rounding down', async () => {
    // mdev.md 2.3, as mtty: 24 ports, shared by types of 1 and 2 … here 5 of them
    const types = { 1: { name: 'One', ports: 1 }, 2: { name: 'Two', ports: 2 } }
    const bench = new Bench(
      driverOf({
        types,
        available(type, mdevs) {
          const ports = (one: unknown) => (one as { ports: number }).ports
          return (5 - mdevs.reduce((sum, mdev) => sum + ports(mdev.type), 0)) / ports(type)
        },
      }),
    )
    const left = () => [bench.available('test-1'), bench.available('test-2')]
    assert.deepEqual(left(), [5, 2])
    await bench.parent.create('test-2', A)
    assert.deepEqual(left(), [3, 1])
    await bench.parent.create('test-2', B)
    assert.deepEqual(left(), [1, 0])
    await assert.rejects(bench.parent.create('test-2', C), { code: 'ENOSPC' })
    await bench.parent.create('test-1', C)
    assert.deepEqual(left(), [0, 0])
    await bench.parent.remove(A)
    assert.deepEqual(left(), [2, 1])
  })

  for (const [title, available, expected] of [
    ['a fraction', () => 1.9, 1],
    ['a negative number', () => -3, 0],
    ['NaN', () => Number.NaN, 0],
    ['nothing', () => undefined as unknown as number, 0],
    ['rubbish', () => 'many' as unknown as number, 0],
    ['a bigint', () => 3n as unknown as number, 0],
    ['infinity', () => Number.POSITIVE_INFINITY, 4_294_967_295],
    ['more than an unsigned int', () => 2 ** 40, 4_294_967_295],
    [
      'an error',
      () => {
        throw new Error('cannot count')
      },
      0,
    ],
  ] as const) {
    test(`shows ${expected} where the driver's available gives ${title}`, async () => {
      const bench = new Bench(driverOf({ available }))
      assert.equal(bench.available(), expected)
      if (expected === 0) await assert.rejects(bench.parent.create('test-1', A), { code: 'ENOSPC' })
      else await bench.parent.create('test-1', A)
    })
  }

  test('logs an error of available', () => {
    const bench = new Bench(
      driverOf({
        available() {
          throw new Error('cannot count')
        },
      }),
    )
    assert.equal(bench.available(), 0)
    assert.deepEqual(bench.logged, ["error: driver's available: cannot count"])
  })
})

describe('Parent.create() of a driver whose probe', () => {
  /** What `probe` does wrong, and the refusal. */
  const FAULTS: readonly [
    title: string,
    probe: (mdev: Mdev, removed: () => void) => unknown,
    refusal: object,
    /** Whether what it returned is asked to let go. */
    removes: boolean,
  ][] = [
    [
      'throws an errno',
      () => {
        throw new ErrnoError('ENXIO', 'no line')
      },
      { code: 'ENXIO', message: 'no line' },
      false,
    ],
    [
      'throws after it built the function',
      (mdev) => {
        probeNothing(mdev)
        throw new RangeError('a bug')
      },
      { name: 'RangeError', message: 'a bug' },
      false,
    ],
    [
      'rejects',
      async (mdev) => {
        probeNothing(mdev)
        await Promise.resolve()
        throw new ErrnoError('ENOENT', 'no file')
      },
      { code: 'ENOENT' },
      false,
    ],
    [
      'does not call pci()',
      (_mdev, removed) => ({ reset() {}, remove: removed }),
      { code: 'EINVAL', message: /mdev\.pci\(\)/ },
      true,
    ],
    [
      'calls pci() twice',
      (mdev) => {
        mdev.pci(IDENTITY)
        return probeNothing(mdev)
      },
      { code: 'EEXIST' },
      false,
    ],
    ['returns nothing', (mdev) => void mdev.pci(IDENTITY), { code: 'EINVAL' }, false],
    ['returns null', (mdev) => (mdev.pci(IDENTITY), null), { code: 'EINVAL' }, false],
    ['returns a number', (mdev) => (mdev.pci(IDENTITY), 5), { code: 'EINVAL' }, false],
    [
      'returns no reset',
      (mdev, removed) => {
        mdev.pci(IDENTITY)
        return { remove: removed }
      },
      { code: 'EINVAL', message: /reset/ },
      true,
    ],
    [
      'returns a remove that is none',
      (mdev) => {
        mdev.pci(IDENTITY)
        return { remove: 'me' }
      },
      { code: 'EINVAL', message: /reset/ },
      false,
    ],
  ]

  for (const [title, probe, refusal, removes] of FAULTS) {
    test(`${title} leaves nothing but add and remove`, async () => {
      const claims = new LocalClaims()
      const states: string[] = []
      let removals = 0
      const bench = new Bench(
        driverOf({ probe: (mdev) => probe(mdev, () => removals++) as DeviceOps }),
        { claims },
      )
      bench.events.on('remove', (mdev) => states.push(mdev.state))
      bench.take()
      await assert.rejects(bench.parent.create('test-1', A), refusal)
      assert.deepEqual(bench.take(), FAILED_IN_PROBE)
      assert.equal(removals, removes ? 1 : 0)
      assert.deepEqual(states, ['removed'])
      assert.deepEqual(bench.parent.mdevs, [])
      assert.throws(() => bench.parent.mdev(A), { code: 'ENOENT' })
      // uuid and group are free
      const next = await new Bench(driverOf(), { claims }).parent.create('test-1', A)
      assert.equal(next.group.number, 0)
    })
  }

  test('was fine is undone when it cannot be exposed, the driver included', async () => {
    const bench = new Bench(
      driverOf({
        probe: (mdev) => ({ ...probeNothing(mdev), remove: () => void bench.notes.push('driver') }),
      }),
      {
        expose() {
          throw new ErrnoError('EADDRINUSE', 'taken')
        },
      },
    )
    bench.take()
    await assert.rejects(bench.parent.create('test-1', A), { code: 'EADDRINUSE' })
    assert.deepEqual(bench.take(), [
      ...FAILED_IN_PROBE.slice(0, 3),
      'driver',
      ...FAILED_IN_PROBE.slice(3),
    ])
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('fails says so even when undoing fails too, which is logged', async () => {
    const inner = new LocalClaims()
    const bench = new Bench(
      driverOf({
        probe() {
          throw new ErrnoError('ENXIO', 'no line')
        },
      }),
      {
        claims: {
          claimGroup: () => inner.claimGroup(),
          joinGroup: (...given) => inner.joinGroup(...given),
          claimUuid: (name) => ({
            value: inner.claimUuid(name).value,
            release() {
              throw new ErrnoError('EIO', 'disk')
            },
          }),
        },
      },
    )
    await assert.rejects(bench.parent.create('test-1', A), { code: 'ENXIO' })
    assert.deepEqual(bench.logged, [`error: mdev ${A}: undoing its creation: EIO: disk`])
    assert.equal(inner.claimGroup().value, 0)
  })
})

describe('Parent with a listener that throws', () => {
  for (const event of ['add', 'bind', 'unbind', 'remove', 'attach', 'detach'] as const) {
    test(`for ${event} goes on as if it did not`, async () => {
      const bench = new Bench(driverOf())
      bench.events.on(event, () => {
        throw new Error('a listener of ours')
      })
      bench.take()
      const mdev = await bench.parent.create('test-1', A)
      new Client(mdev).session.close()
      await bench.parent.remove(A)
      assert.deepEqual(bench.take(), [...CREATED, 'attach', 'detach', ...REMOVED])
      assert.equal(mdev.group.user, undefined)
      assert.equal(bench.logged.length, 1)
    })
  }
})

describe('Parent.remove()', () => {
  test('unbinds, hides, lets the driver go, removes and releases, in this order', async () => {
    const bench = new Bench(
      driverOf({
        probe: (mdev) => ({ ...probeNothing(mdev), remove: () => void bench.notes.push('driver') }),
      }),
    )
    const mdev = await bench.parent.create('test-1', A)
    bench.take()
    await bench.parent.remove(A)
    assert.deepEqual(bench.take(), [...REMOVED.slice(0, 2), 'driver', ...REMOVED.slice(2)])
    assert.equal(mdev.state, 'removed')
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('of what is not here is ENOENT, also of what is elsewhere and of what was', async () => {
    const claims = new LocalClaims()
    const here = new Bench(driverOf(), { claims })
    const there = new Bench(driverOf({ name: 'other' }), { claims })
    await there.parent.create('other-1', A)
    await assert.rejects(here.parent.remove(A), { code: 'ENOENT', message: /not on parent parent/ })
    await there.parent.remove(A)
    await assert.rejects(there.parent.remove(A), { code: 'ENOENT' })
  })

  test('is EBUSY under a client, which is named, and changes nothing', async () => {
    const bench = new Bench(driverOf())
    const mdev = await bench.parent.create('test-1', A)
    const client = new Client(mdev)
    bench.take()
    await assert.rejects(bench.parent.remove(A), { code: 'EBUSY', message: /pid 4711 \(a test\)/ })
    assert.deepEqual([bench.take(), mdev.state, client.evictions], [[], 'active', 0])
    client.session.close()
    await bench.parent.remove(A)
    assert.deepEqual(bench.take(), ['detach', ...REMOVED])
  })

  test("by force evicts the client first: reset with 'disconnect', then the driver's remove", async () => {
    const bench = new Bench(
      driverOf({
        probe(mdev) {
          mdev.pci(IDENTITY)
          return {
            reset: (why) => void bench.notes.push(`reset ${why}`),
            remove: () => void bench.notes.push('driver'),
          }
        },
      }),
    )
    const mdev = await bench.parent.create('test-1', A)
    const client = new Client(mdev)
    bench.take()
    await bench.parent.remove(A, { force: true })
    assert.equal(client.evictions, 1)
    assert.deepEqual(bench.take(), [
      'reset disconnect',
      'detach',
      ...REMOVED.slice(0, 2),
      'driver',
      ...REMOVED.slice(2),
    ])
    client.session.close() // late, and without effect
    assert.deepEqual(bench.take(), [])
  })

  test('by force goes on when evicting fails', async () => {
    const bench = new Bench(driverOf())
    const mdev = await bench.parent.create('test-1', A)
    mdev.open(
      {
        description: 'stubborn',
        process: '1',
        evict() {
          throw new Error('no')
        },
      },
      NO_MEMORY,
    )
    bench.take()
    await bench.parent.remove(A, { force: true })
    assert.deepEqual(bench.take(), REMOVED)
    assert.deepEqual(bench.logged, [`error: ${A}: evicting the client: no`])
  })

  test('is EAGAIN while the mdev is created, force or not', async () => {
    const probe = deferred<void>()
    const bench = new Bench(
      driverOf({
        async probe(mdev) {
          await probe.promise
          return probeNothing(mdev)
        },
      }),
    )
    const creation = bench.parent.create('test-1', A)
    for (const force of [false, true]) {
      await assert.rejects(bench.parent.remove(A, { force }), {
        code: 'EAGAIN',
        message: /creating/,
      })
    }
    probe.resolve()
    await creation
    await bench.parent.remove(A)
  })

  test('is EAGAIN while the mdev is removed', async () => {
    const attempts: Promise<void>[] = []
    const bench = new Bench(
      driverOf({
        probe: (mdev) => ({
          ...probeNothing(mdev),
          remove: () => void attempts.push(bench.parent.remove(A, { force: true })),
        }),
      }),
    )
    await bench.parent.create('test-1', A)
    await bench.parent.remove(A)
    assert.equal(attempts.length, 1)
    await assert.rejects(attempts[0]!, { code: 'EAGAIN' })
  })

  test('contains an error of the driver’s remove, and frees all', async () => {
    const bench = new Bench(
      driverOf({
        probe: (mdev) => ({
          ...probeNothing(mdev),
          remove() {
            throw new Error('a driver’s bug')
          },
        }),
      }),
    )
    const mdev = await bench.parent.create('test-1', A)
    bench.take()
    await bench.parent.remove(A)
    assert.deepEqual(bench.take(), REMOVED)
    assert.equal(mdev.state, 'removed')
    assert.deepEqual(bench.logged, [`error: ${A}: driver's remove: a driver’s bug`])
    await bench.parent.create('test-1', A)
  })

  test('throws what hiding throws, after it has undone everything', async () => {
    let fails = true
    const bench = new Bench(driverOf(), {
      onHide() {
        if (fails) throw new ErrnoError('EIO', 'socket')
      },
    })
    const mdev = await bench.parent.create('test-1', A)
    bench.take()
    await assert.rejects(bench.parent.remove(A), { code: 'EIO' })
    assert.deepEqual(bench.take(), REMOVED)
    assert.equal(mdev.state, 'removed')
    fails = false
    await bench.parent.create('test-1', A)
  })
})

describe('Parent.remove() with wait', () => {
  /** A client that counts how often the REQ interrupt (index 4) asks it to let go. */
  function listening(bench: Bench): Client & { asked: number } {
    const client = Object.assign(new Client(bench.parent.mdev(A)), { asked: 0 })
    const signal = { signal: () => void client.asked++, close: () => {} }
    client.session.device.irqs[4]?.assign(0, [signal])
    return client
  }

  test('asks the client now and every 10 s, and goes on when it lets go (T 3.3)', async () => {
    const clock = new ManualClock()
    const bench = new Bench(driverOf(), { clock })
    const mdev = await bench.parent.create('test-1', A)
    const client = listening(bench)
    bench.take()
    const removal = bench.parent.remove(A, { wait: true })
    assert.deepEqual([client.asked, clock.periods], [1, [10_000]])
    clock.tick()
    clock.tick()
    assert.equal(client.asked, 3)
    assert.deepEqual([bench.take(), mdev.state], [[], 'removing'])
    client.session.close()
    await removal
    assert.deepEqual(bench.take(), ['detach', ...REMOVED])
    assert.deepEqual([client.evictions, clock.periods], [0, []])
  })

  test('lets a client that lets go while it is asked do so', async () => {
    const bench = new Bench(driverOf())
    await bench.parent.create('test-1', A)
    const client = new Client(bench.parent.mdev(A))
    client.session.device.irqs[4]?.assign(0, [
      { signal: () => client.session.close(), close: () => {} },
    ])
    await bench.parent.remove(A, { wait: true })
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('keeps the UUID and the instance meanwhile, and opens to nobody (T 3.1)', async () => {
    const available = (_type: unknown, mdevs: readonly unknown[]) => 2 - mdevs.length
    const bench = new Bench(driverOf({ available }))
    const mdev = await bench.parent.create('test-1', A)
    const client = new Client(mdev)
    const removal = bench.parent.remove(A, { wait: true })
    await assert.rejects(bench.parent.create('test-1', A), { code: 'EEXIST' })
    assert.equal(bench.available(), 1)
    assert.throws(() => new Client(mdev), { code: 'EAGAIN', message: /removing/ })
    await assert.rejects(bench.parent.remove(A), { code: 'EAGAIN' })
    await assert.rejects(bench.parent.remove(A, { wait: true }), { code: 'EAGAIN' })
    await bench.parent.create('test-1', B) // others are not held up
    await bench.parent.remove(B)
    client.session.close()
    await removal
    assert.equal(bench.available(), 2)
  })

  test('is cut short by force', async () => {
    const bench = new Bench(driverOf())
    await bench.parent.create('test-1', A)
    const client = new Client(bench.parent.mdev(A))
    const removal = bench.parent.remove(A, { wait: true })
    await bench.parent.remove(A, { force: true })
    await removal
    assert.equal(client.evictions, 1)
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('without a client does not wait', async () => {
    const clock = new ManualClock()
    const bench = new Bench(driverOf(), { clock })
    await bench.parent.create('test-1', A)
    const removal = bench.parent.remove(A, { wait: true })
    assert.deepEqual([bench.parent.mdevs, clock.periods], [[], []])
    await removal
  })
})

describe('Parent.unregister() without force', () => {
  test('waits for one client after the other, in creation order; siblings are ENODEV and stay usable (T 3.4)', async () => {
    const bench = new Bench(driverOf())
    const first = await bench.parent.create('test-1', A)
    const second = await bench.parent.create('test-1', B)
    const clients = [new Client(first), new Client(second)]
    await bench.parent.create('test-1', C)
    bench.take()
    const unregistered = bench.parent.unregister()
    await assert.rejects(bench.parent.create('test-1', uuid(9)), {
      code: 'ENODEV',
      message: /unregistering/,
    })
    await assert.rejects(bench.parent.remove(C), { code: 'ENODEV' })
    assert.deepEqual([first.state, second.state], ['removing', 'active'])
    clients[1]?.session.close()
    clients[0]?.session.close()
    await unregistered
    assert.deepEqual(
      bench.take().filter((note) => !/release|claim/.test(note)),
      [
        'detach',
        'detach',
        ...[A, B, C].flatMap(() => ['unbind', 'hide', 'remove']),
        'unregistered',
      ],
    )
  })

  test('is hastened by force, for all that wait', async () => {
    const bench = new Bench(driverOf())
    const clients = []
    for (const name of [A, B, C])
      clients.push(new Client(await bench.parent.create('test-1', name)))
    const patient = bench.parent.unregister()
    await bench.parent.unregister({ force: true })
    await patient
    assert.deepEqual(
      clients.map(({ evictions }) => evictions),
      [1, 1, 1],
    )
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('is hastened by force where clients cling to what they have, or come again', async () => {
    const bench = new Bench(driverOf())
    const clinging = { description: 'pid 1 (clings)', process: '1', evict: () => {} }
    const first = await bench.parent.create('test-1', A)
    const second = await bench.parent.create('test-1', B)
    const third = await bench.parent.create('test-1', C)
    for (const mdev of [first, second]) mdev.open(clinging, NO_MEMORY)
    const client = new Client(third)
    const patient = bench.parent.unregister()
    const forced = bench.parent.unregister({ force: true })
    assert.equal(client.evictions, 1)
    const next = new Client(third) // its turn has not come
    await forced
    await patient
    assert.equal(next.evictions, 1)
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('waits for a removal that is under way, and for a probe', async () => {
    const probe = deferred<void>()
    let slow = false
    const bench = new Bench(
      driverOf({
        async probe(mdev) {
          if (slow) await probe.promise
          return probeNothing(mdev)
        },
      }),
    )
    const client = new Client(await bench.parent.create('test-1', A))
    slow = true
    const creation = bench.parent.create('test-1', B)
    const removal = bench.parent.remove(A, { wait: true })
    const unregistered = bench.parent.unregister()
    client.session.close()
    await removal
    assert.ok(!bench.take().includes('unregistered'))
    probe.resolve()
    await assert.rejects(creation, { code: 'ENODEV' })
    await unregistered
    assert.equal(bench.take().at(-1), 'unregistered')
  })
})

describe('Parent.unregister()', () => {
  test('removes all mdevs, oldest first and from their clients too, then says so; once', async () => {
    const bench = new Bench(driverOf())
    const removed: string[] = []
    bench.events.on('remove', (mdev) => removed.push(mdev.uuid))
    for (const name of [C, A, B]) await bench.parent.create('test-1', name)
    const client = new Client(bench.parent.mdev(A))
    bench.take()
    await bench.parent.unregister({ force: true })
    await bench.parent.unregister({ force: true })
    assert.deepEqual(removed, [C, A, B])
    assert.equal(client.evictions, 1)
    assert.deepEqual(bench.take(), [...REMOVED, 'detach', ...REMOVED, ...REMOVED, 'unregistered'])
    await assert.rejects(bench.parent.create('test-1', A), {
      code: 'ENODEV',
      message: /unregistered/,
    })
  })

  test('refuses a creation from within with ENODEV', async () => {
    const creations: Promise<unknown>[] = []
    const bench = new Bench(
      driverOf({
        probe: (mdev) => ({
          ...probeNothing(mdev),
          remove: () => void creations.push(bench.parent.create('test-1', B)),
        }),
      }),
    )
    await bench.parent.create('test-1', A)
    await bench.parent.unregister({ force: true })
    assert.equal(creations.length, 1)
    await assert.rejects(creations[0]!, { code: 'ENODEV', message: /unregistering/ })
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('makes a creation whose probe still runs ENODEV, and the driver lets go', async () => {
    const probe = deferred<void>()
    const bench = new Bench(
      driverOf({
        async probe(mdev) {
          await probe.promise
          return { ...probeNothing(mdev), remove: () => void bench.notes.push('driver') }
        },
      }),
    )
    const creation = bench.parent.create('test-1', A)
    bench.take()
    const unregistered = bench.parent.unregister({ force: true })
    assert.deepEqual(bench.take(), [])
    probe.resolve()
    await assert.rejects(creation, { code: 'ENODEV' })
    await unregistered
    assert.deepEqual(bench.take(), [
      'driver',
      'remove',
      'release group',
      'release uuid',
      'unregistered',
    ])
    assert.deepEqual(bench.parent.mdevs, [])
  })

  test('goes on after a removal that fails, and throws its error at the end', async () => {
    let failures = 1
    const bench = new Bench(driverOf(), {
      onHide() {
        if (failures-- > 0) throw new ErrnoError('EIO', 'socket')
      },
    })
    await bench.parent.create('test-1', A)
    await bench.parent.create('test-1', B)
    bench.take()
    await assert.rejects(bench.parent.unregister({ force: true }), { code: 'EIO' })
    assert.deepEqual(bench.take(), [...REMOVED, ...REMOVED, 'unregistered'])
    assert.deepEqual(bench.parent.mdevs, [])
  })
})
