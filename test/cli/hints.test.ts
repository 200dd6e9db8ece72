/** What a refusal says to do next. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hintOf } from '../../src/cli/hints.ts'
import { ErrnoError } from '../../src/lib/errno.ts'

/** As mdevkit refuses, without a place of a driver in its stack. */
function refusal(
  code: 'EINVAL' | 'ENOENT' | 'ENAMETOOLONG' | 'ECONNREFUSED' | 'EBUSY',
  message: string,
) {
  return Object.assign(new ErrnoError(code, message), { stack: '' })
}

for (const [title, command, error, hint] of [
  [
    'a setting of the other kind',
    'run',
    refusal('ENOENT', 'attribute image: not known here'),
    /--set .* --parent-set /,
  ],
  [
    'a setting that is missing',
    'run',
    refusal('EINVAL', 'attribute image: required'),
    /--parent-set /,
  ],
  [
    'a setting, where one asks the daemon',
    'start',
    refusal('ENOENT', 'attribute x: not known'),
    /mdevkit status/,
  ],
  ['a root too deep', 'run', refusal('ENAMETOOLONG', 'socket path of 156 bytes'), /--root$/],
  [
    'a server that is not there',
    'conformance',
    refusal('ENOENT', 'connect /x'),
    /start the server first/,
  ],
  [
    'a server that has gone',
    'lspci',
    refusal('ECONNREFUSED', 'connect /x'),
    /nobody listens there/,
  ],
  ['a device in use', 'conformance', refusal('EBUSY', 'version'), /one client at a time/],
  ['anything else', 'run', refusal('EINVAL', '"x" is no uuid'), /^mdevkit run --help /],
] as const) {
  test(`hintOf() ${title} says what to do`, () => {
    assert.match(hintOf(error, command) ?? '', hint)
  })
}

test('hintOf() what a driver throws says how to see more of it', () => {
  const bug = Object.assign(new TypeError('x'), {
    stack: 'TypeError: x\n    at probe (/a/b.ts:1:2)',
  })
  assert.equal(hintOf(bug, 'run'), 'mdevkit run --verbose shows the whole stack')
  assert.equal(hintOf(bug, 'host'), undefined) // the daemon tells its last line
})
