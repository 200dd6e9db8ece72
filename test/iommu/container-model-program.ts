/**
 * A program of container-model.test.ts, in a process of its own so that what it leaves behind can be counted.
 *
 * Does random things to a container and to the model of it, compares what each comes to, and at last prints how many steps
 * there were, how many both refused, and what is left. Arguments: a seed and a number of steps.
 */
import assert from 'node:assert/strict'
import { readFileSync, readSync } from 'node:fs'
import { Container } from '../../src/iommu/container.ts'
import { fixedLimit, LockAccount } from '../../src/iommu/lock-account.ts'
import type { Pin, PinAccess } from '../../src/iommu/pin.ts'
import { releaseView } from '../../src/iommu/view.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { KINDS, makeBacking, MAPPABLE } from '../support/backing.ts'
import {
  FILE_PAGES,
  IOVA_PAGES,
  type MapOperation,
  MAX_MAPS,
  Model,
  Refusal,
} from '../support/container-model.ts'
import { duplicate, Fds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096
const [seed = 1, steps = 1000] = process.argv.slice(2).map(Number)

/** Pseudo-random numbers from 0 up to `below` (mulberry32). */
let state = seed
function random(below: number): number {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
}

function lockedKiB(): number {
  return Number(/^VmLck:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
}

interface Held {
  /** First page of IOVA, and how many. */
  readonly first: number
  readonly pages: number
}
interface HeldView extends Held {
  readonly view: Uint8Array
  readonly offset: number
  readonly map: MapOperation
}
interface HeldPin extends Held {
  readonly pin: Pin
  readonly maps: readonly MapOperation[]
}

const remote = {
  read: () => Promise.reject(new ErrnoError('EFAULT', 'refused')),
  write: () => Promise.reject(new ErrnoError('EFAULT', 'refused')),
}
const unlimited = fixedLimit('no limit', Infinity)
const accounts = {
  client: new LockAccount('client', unlimited),
  parent: new LockAccount('parent', unlimited),
}

/** The container and the model side by side. */
class Pair {
  readonly model = new Model()
  readonly container = new Container({
    maxMaps: MAX_MAPS,
    remote,
    payers: { ...accounts, lockExempt: false },
  })
  refused = 0
  /** Pages that were written since the last report. */
  readonly #written = new Set<number>()
  readonly #files: readonly number[]
  #views: HeldView[] = []
  #pins: HeldPin[] = []

  constructor(files: readonly number[]) {
    this.#files = files
    this.container.dirtyLog.start([], PAGE)
  }

  step(): void {
    const kind = random(100)
    if (kind < 18) this.#map()
    else if (kind < 28) this.#unmap()
    else if (kind < 29) this.#unmapAll()
    else if (kind < 43) this.#read()
    else if (kind < 60) this.#write()
    else if (kind < 70) this.#value()
    else if (kind < 77) this.#view()
    else if (kind < 82) this.#releaseView()
    else if (kind < 89) this.#pin()
    else if (kind < 94) this.#unpin()
    else this.#report()
  }

  /** What both come to must be the same: an errno, or what they return. @returns whether they did it */
  #both<T>(what: string, real: () => T, modelled: () => T): boolean {
    const expected = outcome(modelled)
    assert.deepEqual(outcome(real), expected, what)
    assert.equal(this.container.count, this.model.maps.length, what)
    if (typeof expected === 'string') this.refused++
    return typeof expected !== 'string'
  }

  #map(): void {
    const file = random(KINDS.length)
    const map: MapOperation = {
      kind: 'map',
      first: random(IOVA_PAGES + 1),
      pages: random(10) === 0 ? 0 : 1 + random(4),
      file,
      filePage: random(FILE_PAGES),
      readable: random(6) > 0,
      writable: random(6) > 0,
    }
    const { first, pages, readable, writable, filePage } = map
    const range = { iova: first * PAGE, size: pages * PAGE, readable, writable }
    const fd = this.#files[file]!
    this.#both(
      'map',
      () => this.container.map({ ...range, file: { fd: duplicate(fd), offset: filePage * PAGE } }),
      () => this.model.map(map),
    )
  }

  #unmap(): void {
    const first = random(IOVA_PAGES + 1)
    const pages = random(10) === 0 ? 0 : 1 + random(8)
    const before = this.model.maps
    const did = this.#both(
      'unmap',
      () => this.container.unmap(first * PAGE, pages * PAGE),
      () => this.model.unmap(first, pages),
    )
    if (did) this.#forget(before.filter((map) => !this.model.maps.includes(map)))
  }

  #unmapAll(): void {
    const { maps } = this.model
    this.#both(
      'unmapAll',
      () => this.container.unmapAll(),
      () => this.model.unmapAll(),
    )
    this.#forget(maps)
  }

  /** What was held of these maps is held no more. */
  #forget(maps: readonly MapOperation[]): void {
    for (const { first, pages } of maps)
      for (let page = first; page < first + pages; page++) this.#written.delete(page)
    for (const { view } of this.#views.filter(({ map }) => maps.includes(map)))
      assert.ok(
        view.every((byte) => byte === 0),
        'a view of what was unmapped reads zeros',
      )
    this.#views = this.#views.filter(({ map }) => !maps.includes(map))
    const gone = this.#pins.filter((held) => held.maps.some((map) => maps.includes(map)))
    this.#pins = this.#pins.filter((held) => !gone.includes(held))
    for (const { pin } of gone) assert.equal(pin.held, false)
    for (const { pin } of this.#pins) assert.equal(pin.held, true)
    for (const held of gone) {
      if (held.pin.access === 'read') continue
      for (let page = held.first; page < held.first + held.pages; page++)
        if (this.model.mapAt(page) !== undefined) this.#written.add(page)
    }
  }

  #address(): number {
    return Math.max(
      0,
      random(IOVA_PAGES) * PAGE + (random(2) === 0 ? random(17) - 8 : random(PAGE)),
    )
  }

  #read(): void {
    const at = this.#address()
    const length = random(3) === 0 ? random(3 * PAGE) : random(40)
    const [real, modelled] = [Buffer.alloc(length), Buffer.alloc(length)]
    const done = this.#both(
      'read',
      () => this.container.memory.read(at, real),
      () => this.model.read(at, modelled),
    )
    if (done) assert.ok(real.equals(modelled), `read ${at}+${length}`)
  }

  #write(): void {
    const at = this.#address()
    const length = random(3) === 0 ? random(3 * PAGE) : random(40)
    const bytes = new Uint8Array(length).fill(1 + random(255))
    // whatever comes of it: what a list refuses was not written, what `write` refuses was up to the hole
    const list = random(2) === 0
    if (list) {
      this.#both(
        'writeList',
        () => this.container.memory.writeList([{ iova: at, length }], bytes),
        () => {
          this.model.check(at, length, 'writable')
          this.#modelWrite(at, bytes)
        },
      )
    } else
      this.#both(
        'write',
        () => this.container.memory.write(at, bytes),
        () => this.#modelWrite(at, bytes),
      )
  }

  #modelWrite(at: number, bytes: Uint8Array): void {
    for (const [i, value] of bytes.entries()) {
      this.model.write(at + i, Uint8Array.of(value))
      this.#written.add(Math.floor((at + i) / PAGE))
    }
  }

  #value(): void {
    const at = this.#address()
    const { memory } = this.container
    if (random(2) === 0) {
      const bytes = Buffer.alloc(8)
      this.#both(
        'readU64',
        () => memory.readU64(at) as bigint,
        () => {
          this.model.read(at, bytes)
          return bytes.readBigUInt64LE()
        },
      )
    } else {
      const value = random(2 ** 32)
      const bytes = new Uint8Array(Uint32Array.of(value).buffer)
      this.#both(
        'writeU32',
        () => memory.writeU32(at, value),
        () => this.#modelWrite(at, bytes),
      )
    }
  }

  #view(): void {
    const at = this.#address()
    const length = 1 + random(2 * PAGE)
    const first = Math.floor(at / PAGE)
    const map = this.model.mapAt(first)
    let view: Uint8Array | undefined
    const bytes = Buffer.alloc(length)
    const did = this.#both(
      'view',
      () => {
        view = this.container.memory.view(at, length)
        return length
      },
      () => {
        if (map === undefined) throw new Refusal('EFAULT')
        if (!map.readable) throw new Refusal('EACCES')
        if (at + length > (map.first + map.pages) * PAGE) throw new Refusal('EFAULT')
        if (!MAPPABLE.has(KINDS[map.file]!)) throw new Refusal('EOPNOTSUPP')
        this.model.read(at, bytes)
        return length
      },
    )
    if (!did || view === undefined || map === undefined) return
    assert.ok(bytes.equals(view), `view ${at}+${length}`)
    if (!map.writable) return
    const pages = Math.floor((at + length - 1) / PAGE) - first + 1
    this.#views.push({ first, pages, view, offset: at, map })
    if (random(2) === 0) {
      view.fill(77)
      this.model.write(at, new Uint8Array(length).fill(77))
    }
  }

  #releaseView(): void {
    const [held] = this.#views.splice(random(this.#views.length), 1)
    if (held === undefined) return
    releaseView(held.view)
    for (let page = held.first; page < held.first + held.pages; page++) this.#written.add(page)
  }

  #pin(): void {
    const first = random(IOVA_PAGES)
    const pages = random(4)
    const access = (['read', 'write', 'read-write'] as const)[random(3)]!
    let pin: Pin | undefined
    const maps: MapOperation[] = []
    const did = this.#both(
      'pin',
      () => {
        pin = this.container.memory.pin(first * PAGE, pages, access)
        return pages
      },
      () => {
        if (pages === 0) throw new Refusal('EINVAL')
        for (let page = first; page < first + pages;) {
          const map = this.#pinnable(page, access)
          maps.push(map)
          page = map.first + map.pages
        }
        return pages
      },
    )
    if (did && pin !== undefined) this.#pins.push({ first, pages, pin, maps })
  }

  #pinnable(page: number, access: PinAccess): MapOperation {
    const map = this.model.mapAt(page)
    if (map === undefined) throw new Refusal('EINVAL')
    if ((access !== 'write' && !map.readable) || (access !== 'read' && !map.writable))
      throw new Refusal('EPERM')
    if (!MAPPABLE.has(KINDS[map.file]!)) throw new Refusal('EOPNOTSUPP')
    return map
  }

  #unpin(): void {
    const [held] = this.#pins.splice(random(this.#pins.length), 1)
    if (held === undefined) return
    held.pin.unpin()
    if (held.pin.access === 'read') return
    for (let page = held.first; page < held.first + held.pages; page++) this.#written.add(page)
  }

  /** The dirty pages of one map. */
  #report(): void {
    const map = this.model.maps[random(this.model.maps.length)]
    if (map === undefined) return
    const { first, pages } = map
    const bitmap = new Uint8Array(8)
    this.container.takeDirty(first * PAGE, pages * PAGE, PAGE, bitmap)
    const writing = [...this.#views, ...this.#pins.filter(({ pin }) => pin.access !== 'read')]
    for (let page = first; page < first + pages; page++) {
      const held = writing.some((each) => page >= each.first && page < each.first + each.pages)
      const expected = held || this.#written.delete(page)
      assert.equal((bitmap[0]! & (1 << (page - first))) !== 0, expected, `page ${page} is dirty`)
      this.#written.delete(page)
    }
  }

  /** What is in the files, and then nothing is mapped any more. */
  end(): void {
    for (const [i, fd] of this.#files.entries()) {
      const bytes = Buffer.alloc(FILE_PAGES * PAGE)
      readSync(fd, bytes, 0, bytes.length, 0)
      assert.ok(bytes.equals(this.model.files[i]!), `contents of ${KINDS[i]}`)
    }
    this.container.close()
    assert.deepEqual([accounts.client.pages, accounts.parent.pages], [0, 0])
  }
}

/** An errno, or what was returned in an array. */
function outcome<T>(step: () => T): string | [T] {
  try {
    return [step()]
  } catch (error) {
    if (error instanceof ErrnoError || error instanceof Refusal) return error.code
    throw error
  }
}

const before = { ...resourcesOf(), lockedKiB: lockedKiB() }
let refused = 0
{
  using scratch = new Scratch()
  using fds = new Fds()
  const files = KINDS.map((kind) => fds.own(makeBacking(kind, FILE_PAGES * PAGE, scratch)))
  const pair = new Pair(files)
  for (let step = 0; step < steps; step++) {
    try {
      pair.step()
    } catch (error) {
      throw new Error(`seed ${seed}, step ${step}`, { cause: error })
    }
  }
  pair.end()
  refused = pair.refused
}
const after = resourcesOf()
const left = {
  fds: after.fds.length - before.fds.length,
  shared: after.shared.length - before.shared.length,
  lockedKiB: lockedKiB() - before.lockedKiB,
}
console.log(JSON.stringify({ steps, refused, left }))
