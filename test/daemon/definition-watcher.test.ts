/** DefinitionWatcher: definitions that somebody else writes are noticed, once each. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { DefinitionWatcher } from '../../src/daemon/definition-watcher.ts'
import { createLogger } from '../../src/lib/log.ts'
import { formatDefinition } from '../../src/mdev/definition.ts'
import { uuid } from '../mdev/support.ts'
import { Scratch } from '../support/scratch.ts'

const ONE = { type: 'test-1', start: 'manual', attributes: [] } as const
const TWO = { ...ONE, start: 'auto' } as const

class Bench implements Disposable {
  readonly scratch = new Scratch()
  readonly directory = join(this.scratch.path, 'mdevctl.d')
  readonly store = new DefinitionStore(this.directory)
  readonly logged: string[] = []
  readonly told: string[] = []
  readonly watcher: DefinitionWatcher

  constructor() {
    this.store.write({ parent: 'a', uuid: uuid(9) }, ONE) // there before: not told of
    const { store, directory } = this
    const log = createLogger('warn', (line) => this.logged.push(line))
    this.watcher = new DefinitionWatcher({ store, directory, log })
    this.watcher.on('defined', ({ parent, uuid, definition }) =>
      this.told.push(`${parent} ${uuid.slice(-1)} ${definition.start}`),
    )
    this.watcher.on('undefined', ({ parent, uuid }) =>
      this.told.push(`${parent} ${uuid.slice(-1)}`),
    )
  }

  /** As an editor does it. */
  write(path: string, text: string): void {
    const file = join(this.directory, path)
    writeFileSync(`${file}~`, text)
    renameSync(`${file}~`, file)
  }

  [Symbol.dispose](): void {
    this.watcher.close()
    this.scratch[Symbol.dispose]()
  }
}

test('DefinitionWatcher tells of definitions that come, change and go by other hands', async () => {
  using bench = new Bench()
  const { watcher, directory } = bench
  let next = once(watcher, 'defined')
  bench.write(`a/${uuid(1)}`, formatDefinition(ONE))
  await next
  next = once(watcher, 'defined')
  bench.write(`a/${uuid(1)}`, formatDefinition(TWO))
  await next
  next = once(watcher, 'undefined')
  rmSync(join(directory, 'a', uuid(1)))
  await next
  assert.deepEqual(bench.told, ['a 1 manual', 'a 1 auto', 'a 1'])
})

test('DefinitionWatcher looks into directories of parents that come, go, and come back', async () => {
  using bench = new Bench()
  const { watcher, directory } = bench
  let next = once(watcher, 'undefined')
  rmSync(join(directory, 'a'), { recursive: true })
  mkdirSync(join(directory, 'a')) // another directory of that name
  await next
  next = once(watcher, 'defined')
  bench.write(`a/${uuid(2)}`, formatDefinition(ONE))
  await next
  next = once(watcher, 'defined')
  mkdirSync(join(directory, 'b'))
  bench.write(`b/${uuid(3)}`, formatDefinition(TWO))
  await next
  assert.deepEqual(bench.told, ['a 9', 'a 2 manual', 'b 3 auto'])
})

test('DefinitionWatcher tells of what this process has changed at once, and not again', async () => {
  using bench = new Bench()
  const { watcher, store } = bench
  const key = { parent: 'a', uuid: uuid(1) }
  store.write(key, ONE)
  watcher.noteDefined({ ...key, definition: ONE })
  watcher.noteDefined({ ...key, definition: ONE })
  assert.deepEqual(bench.told, ['a 1 manual'])
  const next = once(watcher, 'defined') // looked at together with what is there already
  bench.write(`a/${uuid(2)}`, formatDefinition(ONE))
  await next
  watcher.noteUndefined(key)
  assert.deepEqual(bench.told, ['a 1 manual', 'a 2 manual', 'a 1'])
})

test('DefinitionWatcher warns of a file that is no definition any more, which is undefined then', async () => {
  using bench = new Bench()
  const next = once(bench.watcher, 'undefined')
  bench.write(`a/${uuid(9)}`, '{')
  await next
  assert.deepEqual(bench.told, ['a 9'])
  assert.match(bench.logged.join('\n'), new RegExp(`^warn: definition .*${uuid(9)}: EINVAL: `))
})

for (const [title, remove] of [
  ['removed', (directory: string) => rmSync(directory, { recursive: true })],
  ['moved away', (directory: string) => renameSync(directory, `${directory}.old`)],
  [
    'replaced by another',
    (directory: string) => {
      renameSync(directory, `${directory}.old`)
      mkdirSync(join(directory, 'b'), { recursive: true })
    },
  ],
] as const) {
  test(`DefinitionWatcher goes on where the directory itself is ${title}`, async () => {
    using bench = new Bench()
    const { watcher, directory } = bench
    const gone = once(watcher, 'undefined')
    remove(directory)
    await gone
    mkdirSync(join(directory, 'b'), { recursive: true })
    for (const each of [1, 2]) {
      const next = once(watcher, 'defined')
      bench.write(`b/${uuid(each)}`, formatDefinition(ONE))
      await next
    }
    assert.deepEqual(bench.told, ['a 9', 'b 1 manual', 'b 2 manual'])
    assert.deepEqual(bench.logged, [])
  })
}
