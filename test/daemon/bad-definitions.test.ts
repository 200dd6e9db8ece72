/** Files among the definitions that are none: told of by name and reason over the API, and what else is there goes on. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { definitionsDirectory } from '../../src/daemon/daemon.ts'
import { formatDefinition } from '../../src/mdev/definition.ts'
import { uuid } from '../mdev/support.ts'
import { Bench } from './bench.ts'

const AUTO = { type: 'test-1', start: 'auto', attributes: [] } as const
const WHOLE = formatDefinition(AUTO)

/** Contents of a file, and what is said of it. */
const BAD: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
  ['torn', WHOLE.slice(0, 20), /^EINVAL: /],
  ['empty', '', /^EINVAL: /],
  ['huge', ' '.repeat(1024 * 1024) + WHOLE, /^EFBIG: .*more than 1 MiB/],
  ['no JSON', 'mdev_type = test-1', /^EINVAL: /],
  ['no UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d), /^EINVAL: .*not UTF-8/],
  ['of another schema', '{"type":"test-1","start":"auto"}', /^EINVAL: invalid json/],
  ['a list', '[]', /^EINVAL: invalid json/],
  [
    'with settings that are no list',
    '{"mdev_type":"a-1","start":"auto","attrs":{}}',
    /not an array/,
  ],
]

test('the daemon tells of each file that is no definition, and starts the others', async () => {
  await using bench = new Bench()
  const directory = join(definitionsDirectory(bench.root), 'a')
  mkdirSync(directory, { recursive: true })
  const expected = new Map<string, RegExp>()
  for (const [index, [, contents, message]] of BAD.entries()) {
    const file = join(directory, uuid(100 + index))
    writeFileSync(file, contents)
    expected.set(file, message)
  }
  const outside = bench.scratch.write('outside', WHOLE)
  symlinkSync(outside, join(directory, uuid(200)))
  expected.set(join(directory, uuid(200)), /^ELOOP: /)
  symlinkSync('/', join(definitionsDirectory(bench.root), 'link')) // no parent's directory
  writeFileSync(join(directory, 'notes.txt'), WHOLE)
  expected.set(join(directory, 'notes.txt'), /^EINVAL: /)
  execFileSync('mkfifo', [join(directory, uuid(201))]) // reading it would wait for ever
  expected.set(join(directory, uuid(201)), /^EINVAL: .*no regular file/)
  mkdirSync(join(directory, uuid(202)))
  expected.set(join(directory, uuid(202)), /^E(INVAL|ISDIR): /)
  for (const parent of ['a', 'b']) bench.store.write({ parent, uuid: uuid(1) }, AUTO) // one UUID twice

  await bench.daemon()
  const events = bench.client.events()
  await events.next()
  bench.host('a')
  for await (const event of events) if (event.action === 'bind') break
  const { mdevs, faults } = await bench.client.list()
  assert.deepEqual(
    mdevs.map((mdev) => [mdev.parent, mdev.uuid, mdev.active?.state]),
    [
      ['a', uuid(1), 'active'],
      ['b', uuid(1), undefined],
    ],
  )
  assert.deepEqual(faults.map(({ path }) => path).toSorted(), [...expected.keys()].toSorted())
  for (const { path, message } of faults) assert.match(message, expected.get(path) ?? /never/, path)
  await assert.rejects(bench.client.start({ uuid: uuid(100) }), { code: 'EINVAL' })
  await assert.rejects(bench.client.start({ uuid: uuid(200) }), { code: 'ELOOP' })
  await bench.client.stop(uuid(1))
  await assert.rejects(bench.client.start({ uuid: uuid(1) }), {
    code: 'EINVAL',
    message: /defined on a, b: say which parent/,
  })
})
