/** Pins of a container: what becomes of them when maps go, and what is told to whom. */
import assert from 'node:assert/strict'
import { ftruncateSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Container } from '../../src/iommu/container.ts'
import { fixedLimit, LockAccount } from '../../src/iommu/lock-account.ts'
import type { ClientRange } from '../../src/iommu/map-entry.ts'
import { createLogger } from '../../src/lib/log.ts'
import { ProcessMemlock } from '../../src/os/memlock-limit.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { duplicate, Fds, makeMemfd } from '../support/fds.ts'

const PAGE = 4096
const SIZE = 8 * PAGE

/** Pages that this process has locked. */
function locked(): number {
  const self = new ProcessMemlock(process.pid)
  try {
    return self.locked() / PAGE
  } finally {
    self.close()
  }
}

class Setup implements Disposable {
  readonly fds = new Fds()
  readonly file = this.fds.own(createMemfd('pinned', SIZE))
  readonly logged: string[] = []
  readonly client = new LockAccount('the client', fixedLimit('limit', Infinity))
  readonly parent = new LockAccount('the parent', fixedLimit('limit', 4 * PAGE))
  readonly container = new Container({
    maxMaps: 8,
    remote: { read: async () => {}, write: async () => {} },
    payers: { client: this.client, parent: this.parent, lockExempt: false },
    log: createLogger('warn', (line) => this.logged.push(line)),
  })
  readonly memory = this.container.memory
  readonly #before = locked()

  /** Maps `pages` of the file at their own iova. */
  map(first: number, pages: number, writable = true): void {
    const file = { fd: duplicate(this.file), offset: first * PAGE }
    this.container.map({
      iova: first * PAGE,
      size: pages * PAGE,
      readable: true,
      writable,
      file,
    })
  }

  get locked(): number {
    return locked() - this.#before
  }

  /** Pages of a map that are reported as written. */
  dirty(first: number, pages: number): number[] {
    const bitmap = new Uint8Array(8)
    this.container.takeDirty(first * PAGE, pages * PAGE, PAGE, bitmap)
    return Array.from({ length: pages }, (_, i) => first + i).filter(
      (page) => (bitmap[0]! & (1 << (page - first))) !== 0,
    )
  }

  [Symbol.dispose](): void {
    this.container.close()
    this.fds[Symbol.dispose]()
    assert.deepEqual([this.locked, this.client.pages, this.parent.pages], [0, 0, 0])
  }
}

describe('GuestMemory.pin()', () => {
  test('locks pages, of several maps too, and shows them', () => {
    using setup = new Setup()
    setup.map(0, 2)
    setup.map(2, 2)
    const pin = setup.memory.pin(PAGE, 2, 'read-write')
    assert.deepEqual([setup.locked, setup.client.pages, setup.parent.pages], [2, 2, 2])
    void setup.memory.writeU8(2 * PAGE, 7)
    assert.deepEqual(
      pin.views.map((view) => [view.length, view[0]]),
      [
        [PAGE, 0],
        [PAGE, 7],
      ],
    )
    pin.unpin()
    assert.equal(setup.locked, 0)
    assert.throws(() => pin.unpin(), { code: 'EINVAL' })
  })

  test('locks a page once that two containers have pinned', () => {
    using one = new Setup()
    using other = new Setup()
    one.map(0, 1)
    other.container.map({
      iova: 0x100000,
      size: PAGE,
      readable: true,
      writable: true,
      file: { fd: duplicate(one.file), offset: 0 },
    })
    const pin = one.memory.pin(0, 1, 'read')
    other.memory.pin(0x100000, 1, 'read')
    assert.equal(one.locked, 1)
    pin.unpin()
    assert.equal(one.locked, 1)
    other.container.close()
    assert.equal(one.locked, 0)
  })

  test('refuses what is not mapped, not granted, or beyond a limit, and nothing has changed', () => {
    using setup = new Setup()
    const { memory, container } = setup
    setup.map(0, 2)
    setup.map(2, 1, false)
    setup.map(3, 5)
    container.map({ iova: 0x100000, size: PAGE, readable: true, writable: true })
    for (const [first, pages, code] of [
      [7, 2, 'EINVAL'],
      [9, 1, 'EINVAL'],
      [0, 0, 'EINVAL'],
      [0, 513, 'E2BIG'],
      [1, 2, 'EPERM'],
      [0x100, 1, 'EOPNOTSUPP'],
      [3, 5, 'ENOMEM'],
    ] as const) {
      assert.throws(() => memory.pin(first * PAGE, pages, 'write'), { code }, `${first}+${pages}`)
      assert.deepEqual([setup.locked, setup.client.pages], [0, 0])
    }
  })

  test('refuses where nobody pays for it, and memory in a file that can shrink, with EOPNOTSUPP', () => {
    using setup = new Setup()
    const remote = { read: async () => {}, write: async () => {} }
    const { memory } = new Container({ maxMaps: 1, remote })
    assert.throws(() => memory.pin(0, 1, 'read'), { code: 'EOPNOTSUPP' })
    const file = setup.fds.own(makeMemfd(0)) // which cannot be sealed
    ftruncateSync(file, PAGE)
    setup.container.map({ ...range(0), file: { fd: duplicate(file), offset: 0 } })
    assert.throws(() => setup.memory.pin(0, 1, 'read'), { code: 'EOPNOTSUPP' })
  })

  test('pages pinned for writing are dirty while they are held and once after', () => {
    using setup = new Setup()
    setup.map(0, 4)
    const early = setup.memory.pin(0, 1, 'write')
    setup.container.dirtyLog.start([], PAGE)
    const written = setup.memory.pin(PAGE, 2, 'read-write')
    setup.memory.pin(3 * PAGE, 1, 'read')
    assert.deepEqual(setup.dirty(0, 4), [0, 1, 2])
    assert.deepEqual(setup.dirty(0, 4), [0, 1, 2])
    early.unpin()
    written.unpin()
    assert.deepEqual(setup.dirty(0, 4), [0, 1, 2])
    assert.deepEqual(setup.dirty(0, 4), [])
  })
})

function range(iova: number) {
  return { iova, size: PAGE, readable: true, writable: true }
}

describe('Container.unmap() of pinned memory', () => {
  test('takes away what the driver has kept, says so, and leaves other pins', () => {
    using setup = new Setup()
    setup.map(0, 2)
    setup.map(2, 2)
    const gone = [setup.memory.pin(0, 1, 'read'), setup.memory.pin(PAGE, 2, 'read')]
    const kept = setup.memory.pin(3 * PAGE, 1, 'read')
    void setup.memory.writeU8(0, 9)
    assert.equal(setup.container.unmap(0, 2 * PAGE), 2 * PAGE)
    assert.deepEqual(
      gone.map(({ held }) => held),
      [false, false],
    )
    assert.equal(gone[0]!.views[0]![0], 0, 'its view reads zeros')
    assert.ok(kept.held)
    assert.equal(setup.locked, 1)
    assert.equal(setup.logged.length, 1)
    assert.match(setup.logged[0]!, /dma unmap 0x0\+0x2000: the driver still held 2 pins/)
  })

  test('tells an observer first, with the range of the map, which can let go in time', () => {
    using setup = new Setup()
    const { container, memory } = setup
    setup.map(0, 2)
    const pins = [memory.pin(0, 1, 'read')]
    const told: [string, ClientRange][] = []
    container.observe({
      mapped: (map) => void told.push(['mapped', map]),
      unmapping: (map) => {
        told.push(['unmapping', map])
        assert.equal(memory.readU8(map.iova), 0, 'it can still be accessed')
        for (const pin of pins.splice(0)) pin.unpin()
      },
    })
    setup.map(4, 1, false)
    void container.unmap(0, 8 * PAGE)
    void container.unmap(0, 8 * PAGE)
    assert.deepEqual(
      told.map(([what, { iova, size, writable }]) => [what, iova / PAGE, size / PAGE, writable]),
      [
        ['mapped', 0, 2, true],
        ['mapped', 4, 1, false],
        ['unmapping', 0, 2, true],
        ['unmapping', 4, 1, false],
      ],
    )
    assert.equal(told[1]![1].file?.offset, 4 * PAGE)
    assert.deepEqual(setup.logged, [])
  })

  test('goes on when an observer throws, which is logged', () => {
    using setup = new Setup()
    const fail = () => {
      throw new Error('no')
    }
    setup.container.observe({ mapped: fail, unmapping: fail })
    setup.map(0, 2)
    assert.equal(setup.container.unmap(0, 2 * PAGE), 2 * PAGE)
    assert.equal(setup.logged.length, 2)
    for (const [index, what] of ['mapped', 'unmapping'].entries()) {
      assert.match(
        setup.logged[index]!,
        new RegExp(
          String.raw`^error: dma ${what} 0x0\+0x2000: no \(.*/container-pins\.test\.ts:\d+\)$`,
        ),
      )
    }
  })
})

test('Container.close() takes all pins away, and says how many there were', () => {
  using setup = new Setup()
  setup.map(0, 2)
  const pin = setup.memory.pin(0, 2, 'read')
  setup.container.close()
  assert.deepEqual(
    [pin.held, setup.locked, setup.client.pages, setup.parent.pages],
    [false, 0, 0, 0],
  )
  assert.match(setup.logged.join(), /still held 1 pins when its client went/)
})

test('a client is told once that memory in a file that can shrink is slow, and mapUnsealed maps it', () => {
  using fds = new Fds()
  const logged: string[] = []
  const log = createLogger('warn', (line) => logged.push(line))
  const remote = { read: async () => {}, write: async () => {} }
  const file = fds.own(makeMemfd(0)) // which cannot be sealed
  ftruncateSync(file, 2 * PAGE)
  for (const mapUnsealed of [false, true]) {
    const container = new Container({ maxMaps: 8, remote, log, mapUnsealed })
    for (const offset of [0, PAGE]) {
      container.map({ ...range(offset), file: { fd: duplicate(file), offset } })
    }
    if (mapUnsealed) assert.equal(container.memory.view(0, 3).length, 3)
    else assert.throws(() => container.memory.view(0, 3), { code: 'EOPNOTSUPP' })
    container.close()
  }
  assert.equal(logged.length, 1)
  assert.match(logged[0]!, /may shrink.*--map-unsealed/)
})
