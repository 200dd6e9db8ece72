/** Where in a driver an error comes from; this file plays the driver. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describeFault, placeOf, withPlace } from '../../src/lib/driver-fault.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { parseUuid } from '../../src/lib/uuid.ts'
import { Scratch } from '../support/scratch.ts'

/** As source maps have it, or not. */
const HERE = /driver-fault\.test\.[jt]s:\d+$/

/** With a stack of those files, innermost first. */
function thrownIn(error: Error, ...urls: readonly string[]): Error {
  error.stack = [
    `${error.name}: ${error.message}`,
    ...urls.map((url) => `    at Object.probe (${url}:5:7)`),
    '    at new Promise (<anonymous>)',
    '    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)',
  ].join('\n')
  return error
}

function caught(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

const OWN = new URL('../../src/mdev/parent.js', import.meta.url).href
const SHIPPED = new URL('../../drivers/nvme/nvme.js', import.meta.url).href
const CALLER = 'file:///opt/node_modules/commander/lib/command.js'
const THEIRS = 'file:///home/me/my%20card.ts'

const refusal = (): Error => new ErrnoError('ENOENT', 'image x: not there')
const systemError = (): Error => caught(() => readFileSync('/not/there')) as Error

for (const [title, error, place] of [
  ['a bug of a driver', thrownIn(new TypeError('x'), THEIRS, OWN), '/home/me/my card.ts:5'],
  [
    'a bug in what a driver calls of ours',
    thrownIn(new Error('x'), OWN, THEIRS, OWN),
    '/home/me/my card.ts:5',
  ],
  [
    'a refusal of ours that a driver has called for',
    thrownIn(refusal(), OWN, THEIRS),
    '/home/me/my card.ts:5',
  ],
  ['a system error in a driver', thrownIn(systemError(), THEIRS), '/home/me/my card.ts:5'],
  ['a bug of a shipped driver', thrownIn(new Error('x'), SHIPPED), `${fileURLToPath(SHIPPED)}:5`],
  ['a refusal that the driver words itself', thrownIn(refusal(), THEIRS, OWN), undefined],
  ['a refusal that a shipped driver hands on', thrownIn(refusal(), OWN, SHIPPED), undefined],
  ['a system error in a shipped driver', thrownIn(systemError(), SHIPPED), undefined],
  [
    'a refusal of ours to who calls the command line',
    thrownIn(refusal(), OWN, CALLER, OWN),
    undefined,
  ],
  ['an error without a stack', Object.assign(new Error('x'), { stack: undefined }), undefined],
  ['what is no error', 'a fit', undefined],
] as const) {
  test(`placeOf() ${title} is ${place === undefined ? 'nowhere' : 'where the driver is'}`, () => {
    assert.equal(placeOf(error), place)
  })
}

test('placeOf() finds it in what is really thrown', () => {
  const bug = caught(() => JSON.parse('{'))
  assert.match(placeOf(bug) ?? '', HERE)
  const misuse = caught(() => parseUuid('x'))
  assert.ok(misuse instanceof ErrnoError)
  assert.match(placeOf(misuse) ?? '', HERE)
})

test('placeOf() a module that cannot be loaded is above its message', async () => {
  using scratch = new Scratch()
  const path = scratch.write('my card.mjs', `\nimport { nothing } from '${import.meta.url}'`)
  const error: unknown = await import(pathToFileURL(path).href).catch((reason: unknown) => reason)
  assert.equal(placeOf(error), `${path}:2`)
})

test('describeFault() says what and where, once', () => {
  const bug = thrownIn(new TypeError('x is undefined'), THEIRS)
  assert.equal(describeFault(bug), 'x is undefined (/home/me/my card.ts:5)')
  assert.equal(
    withPlace('no card at /home/me/my card.ts:5', bug),
    'no card at /home/me/my card.ts:5',
  )
  const own = thrownIn(refusal(), THEIRS)
  assert.equal(describeFault(own), 'ENOENT: image x: not there')
})
