/** Definitions on disk: mdevctl's places and names, and everything that can lie there and is none. */
import assert from 'node:assert/strict'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { Scratch } from '../support/scratch.ts'

const [ONE, TWO] = ['00000001-0000-4000-8000-000000000001', '00000002-0000-4000-8000-000000000002']
const DEFINITION = { type: 'mtty-1', start: 'manual', attributes: [] } as const

function storeIn(scratch: Scratch): DefinitionStore {
  return new DefinitionStore(join(scratch.path, 'mdevctl.d'))
}

test('the scripts of mdevctl 1.2, which lie among the parents, are none', () => {
  using scratch = new Scratch()
  const store = storeIn(scratch)
  scratch.write('mdevctl.d/scripts.d/callouts/10-mine.sh', '')
  assert.deepEqual(store.list(), { mdevs: [], faults: [] })
})

describe('DefinitionStore.write()', () => {
  test('makes the directories, and the file that mdevctl makes (T 8.6)', () => {
    using scratch = new Scratch()
    storeIn(scratch).write({ parent: 'mtty', uuid: ONE.toUpperCase() }, DEFINITION)
    assert.equal(
      readFileSync(join(scratch.path, 'mdevctl.d', 'mtty', ONE), 'utf8'),
      '{\n  "mdev_type": "mtty-1",\n  "start": "manual",\n  "attrs": []\n}',
    )
  })

  test('refuses a second definition on the same parent with EEXIST, unless it is to be replaced', () => {
    using scratch = new Scratch()
    const store = storeIn(scratch)
    const key = { parent: 'mtty', uuid: ONE }
    store.write(key, DEFINITION)
    const changed = { ...DEFINITION, start: 'auto' } as const
    assert.throws(() => store.write(key, changed), { code: 'EEXIST', message: /defined on parent/ })
    assert.deepEqual(store.read(key), DEFINITION)
    store.write(key, changed, { replace: true })
    assert.deepEqual(store.read(key), changed)
    store.write({ parent: 'mdpy', uuid: ONE }, DEFINITION) // another parent's is another definition
    assert.equal(store.list().mdevs.length, 2)
  })

  for (const parent of ['', '.', '..', '../x', 'a/b', '.hidden', 'a\0b']) {
    test(`refuses the parent ${JSON.stringify(parent)} with EINVAL, and makes nothing`, () => {
      using scratch = new Scratch()
      const store = storeIn(scratch)
      assert.throws(() => store.write({ parent, uuid: ONE }, DEFINITION), { code: 'EINVAL' })
      assert.throws(() => store.read({ parent, uuid: ONE }), { code: 'EINVAL' })
      assert.throws(() => store.remove({ parent, uuid: ONE }), { code: 'EINVAL' })
      assert.deepEqual(readdirSync(scratch.path), [])
    })
  }

  test('takes a parent with colons, and refuses what is no uuid', () => {
    using scratch = new Scratch()
    const store = storeIn(scratch)
    store.write({ parent: '0000:00:05.0', uuid: ONE }, DEFINITION)
    assert.equal(store.list().mdevs[0]?.parent, '0000:00:05.0')
    assert.throws(() => store.write({ parent: 'mtty', uuid: '../1' }, DEFINITION), {
      code: 'EINVAL',
    })
  })
})

describe('DefinitionStore.remove()', () => {
  test('leaves the directory of the parent, and is ENOENT the second time (T 8.9)', () => {
    using scratch = new Scratch()
    const store = storeIn(scratch)
    const key = { parent: 'mtty', uuid: ONE }
    store.write(key, DEFINITION)
    store.remove(key)
    assert.deepEqual(readdirSync(join(scratch.path, 'mdevctl.d')), ['mtty'])
    assert.throws(() => store.remove(key), { code: 'ENOENT', message: /not defined/ })
    assert.throws(() => store.read(key), { code: 'ENOENT', message: /not defined/ })
  })
})

describe('DefinitionStore.list()', () => {
  test('of a directory that is not there is empty', () => {
    using scratch = new Scratch()
    assert.deepEqual(storeIn(scratch).list(), { mdevs: [], faults: [] })
  })

  test('sorts by parent, then by UUID', () => {
    using scratch = new Scratch()
    const store = storeIn(scratch)
    for (const parent of ['a-b', 'a']) {
      for (const uuid of [TWO, ONE]) store.write({ parent, uuid }, DEFINITION)
    }
    assert.deepEqual(
      store.list().mdevs.map(({ parent, uuid }) => `${parent} ${uuid}`),
      [`a ${ONE}`, `a ${TWO}`, `a-b ${ONE}`, `a-b ${TWO}`],
    )
  })

  test('tells of every file that is no definition, and goes on', () => {
    using scratch = new Scratch()
    const store = storeIn(scratch)
    store.write({ parent: 'mtty', uuid: TWO }, DEFINITION)
    const outside = scratch.write('outside', '{"mdev_type":"secret","start":"auto"}')
    const directory = join(scratch.path, 'mdevctl.d')
    const uuid = (digit: string) => `0000000${digit}-0000-4000-8000-000000000000`
    scratch.write(`mdevctl.d/mtty/${uuid('3')}`, '')
    scratch.write(`mdevctl.d/mtty/${uuid('4')}`, '{')
    scratch.write(`mdevctl.d/mtty/${uuid('5')}`, '{"mdev_type":"x"}')
    scratch.write(`mdevctl.d/mtty/${uuid('6')}`, ' '.repeat(1024 * 1024 + 1))
    scratch.write('mdevctl.d/mtty/nonsense', '{"mdev_type":"x","start":"auto"}')
    scratch.write(`mdevctl.d/mtty/${uuid('A')}`, '{"mdev_type":"x","start":"auto"}')
    symlinkSync(outside, join(directory, 'mtty', uuid('7')))
    mkdirSync(join(directory, 'mtty', uuid('8')))
    // what a crash while writing leaves, files beside the parents, and links elsewhere are nobody's definition
    scratch.write('mdevctl.d/mtty/.new-0', '{')
    scratch.write('mdevctl.d/file', '')
    symlinkSync(scratch.path, join(directory, 'elsewhere'))
    const { mdevs, faults } = store.list()
    assert.deepEqual(
      mdevs.map((mdev) => mdev.uuid),
      [TWO],
    )
    const codes = faults.map(({ path, message }) => `${path.slice(-36)} ${message.split(':')[0]}`)
    assert.deepEqual(
      codes.toSorted(),
      [
        ...['3', '4', '5'].map((digit) => `${uuid(digit)} EINVAL`),
        `${uuid('6')} EFBIG`,
        `${uuid('7')} ELOOP`,
        `${uuid('8')} EINVAL`,
        `${uuid('A')} EINVAL`,
        `${join(directory, 'mtty', 'nonsense').slice(-36)} EINVAL`,
      ].toSorted(),
    )
  })
})

test('DefinitionStore sees every change of a file, however fast, and though the times are set back', () => {
  using scratch = new Scratch()
  const store = new DefinitionStore(scratch.path)
  const key = { parent: 'a', uuid: ONE }
  const file = scratch.write(`a/${ONE}`, '')
  const read = () => store.list().mdevs[0]?.definition.type
  for (let round = 0; round < 200; round++) {
    const type = `t-${String(round).padStart(4, '0')}` // as long each time
    writeFileSync(file, JSON.stringify({ mdev_type: type, start: 'auto' }))
    utimesSync(file, 1, 1)
    assert.equal(read(), type)
    assert.equal(read(), type)
    assert.equal(store.read(key).type, type)
  }
})

test('DefinitionStore does not read again what has not changed', async () => {
  using scratch = new Scratch()
  const store = new DefinitionStore(scratch.path)
  store.write({ parent: 'a', uuid: ONE }, { type: 't-1', start: 'auto', attributes: [] })
  await new Promise((resolve) => setTimeout(resolve, 200)) // until its time is no more of now
  const [first] = store.list().mdevs
  const [second] = store.list().mdevs
  assert.equal(second?.definition, first?.definition) // the same object
})
