/** What is said of a failure. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { cutLines, describeFailure } from '../../scripts/test-failure.ts'

/** As node:test reports what `body` throws. */
function reported(body: () => void): unknown {
  try {
    body()
  } catch (cause) {
    return new Error('wrapped', { cause })
  }
  return assert.fail('nothing was thrown')
}

describe('describeFailure()', () => {
  test('shows what an assertion with a message of its own leaves out', () => {
    const text = describeFailure(reported(() => assert.match('came', /due/, 'the answer')))
    assert.match(
      text,
      /^the answer\nexpected: \/due\/\ncame: {5}came\nat .*\/test-failure\.test\.[jt]s/,
    )
  })

  test('shows what it compared once, if the message does', () => {
    const text = describeFailure(reported(() => assert.deepEqual([1], [2], 'the list')))
    assert.match(text, /^the list\n/)
    assert.doesNotMatch(text, /^expected:/m)
    assert.match(text, /^\+ {3}1$/m)
  })

  test('says the code of an error once, its kind, and its causes', () => {
    const inner = Object.assign(new TypeError('inner'), { code: 'EBUSY' })
    const text = describeFailure(
      reported(() => {
        throw Object.assign(new Error('EIO: outer', { cause: inner }), { code: 'EIO' })
      }),
    )
    assert.match(text, /^EIO: outer\n/)
    assert.match(text, /^because of TypeError: EBUSY: inner$/m)
  })

  test('names no place but ours', () => {
    const text = describeFailure(reported(() => new Map([[1, 1]]).forEach(() => assert.fail('x'))))
    assert.doesNotMatch(text, /node:|<anonymous>\)$/m)
    assert.match(text, /^at /m)
  })

  test('takes what is no error, too', () => {
    assert.equal(describeFailure('text'), 'text')
    assert.equal(describeFailure(undefined), 'undefined')
    assert.equal(
      describeFailure(
        reported(() => {
          throw { some: 'thing' }
        }),
      ),
      "{ some: 'thing' }",
    )
  })

  test('ends where causes go in a circle', () => {
    const one = new Error('one')
    one.cause = new Error('two', { cause: one })
    assert.equal(describeFailure(one).match(/because of/g)?.length, 3)
  })
})

test('cutLines() keeps the beginning and the end, and says how much is between', () => {
  const lines = Array.from({ length: 100 }, (_, index) => `${index}`)
  const cut = cutLines(lines, 10)
  assert.equal(cut.length, 10)
  assert.deepEqual(cut.slice(0, 6), ['0', '1', '2', '3', '4', '5'])
  assert.equal(cut[6], '… 91 lines more …')
  assert.deepEqual(cut.slice(7), ['97', '98', '99'])
  assert.deepEqual(cutLines(lines, 100), lines)
})
