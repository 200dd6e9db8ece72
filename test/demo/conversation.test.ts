/** Lines compared byte for byte, over a wire that does what it is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Conversation } from '../../demo/conversation.ts'
import type { ErrnoCode } from '../../src/lib/errno.ts'

interface Fake {
  readonly conversation: Conversation
  readonly typed: string[]
  /** Something comes. */
  readonly come: (text: string) => void
}

function fake({
  timeoutMs = 5000,
  signal = new AbortController().signal,
}: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {}): Fake {
  const typed: string[] = []
  let onBytes = (_bytes: Buffer): void => {}
  const conversation = new Conversation({
    name: 'port 7',
    path: '/dev/pts/7',
    timeoutMs,
    signal,
    open(_path, listener) {
      onBytes = listener
      return { write: (bytes) => typed.push(Buffer.from(bytes).toString('latin1')), close() {} }
    },
  })
  return { conversation, typed, come: (text) => onBytes(Buffer.from(text, 'latin1')) }
}

function refusal(code: ErrnoCode, message: string): (error: Error) => boolean {
  return (error) => {
    assert.equal((error as NodeJS.ErrnoException).code, code)
    assert.equal(error.message, message)
    return true
  }
}

test('Conversation.say() types a line', () => {
  const { conversation, typed } = fake()
  conversation.say('a b\xff')
  assert.deepEqual(typed, ['a b\xff\n'])
})

test('Conversation.expect() takes the line, in whatever pieces it comes', async () => {
  const { conversation, come } = fake()
  const expected = conversation.expect(' \xe9"\\ ')
  for (const char of ' \xe9"\\ \nnext') come(char)
  await expected
  come('\n\n')
  await conversation.expect('next')
  await conversation.expect('')
  conversation.expectNothing()
})

test('Conversation.expect() refuses a flipped bit, naming what was expected, what came and where', async () => {
  const { conversation, come } = fake()
  come('12: hellp\n')
  await assert.rejects(
    conversation.expect('12: hello'),
    refusal(
      'EBADMSG',
      'port 7:\n  expected "12: hello"\n  came     "12: hellp"\n  (byte 8: 0x6f expected, 0x70 came)',
    ),
  )
})

test('Conversation.expect() refuses a line that lacks a byte, or its end', async () => {
  const { conversation, come } = fake()
  come('hell\n')
  await assert.rejects(
    conversation.expect('hello'),
    refusal(
      'EBADMSG',
      'port 7:\n  expected "hello"\n  came     "hell"\n  (byte 4: 0x6f expected, the end of the line came)',
    ),
  )
  const expected = conversation.expect('hello')
  come('hellow') // and no end of line: it need not be waited for
  await assert.rejects(
    expected,
    refusal(
      'EBADMSG',
      'port 7:\n  expected "hello"\n  came     "hellow"\n  (byte 5: the end of the line expected, 0x77 came)',
    ),
  )
})

test('Conversation.expect() says after the time-out what it expected and what came', async () => {
  const { conversation, come } = fake({ timeoutMs: 20 })
  const nothing = 'port 7:\n  expected "ready"\n  came     nothing within 20 ms'
  await assert.rejects(conversation.expect('ready'), refusal('ETIMEDOUT', nothing))
  come('rea')
  const part = 'port 7:\n  expected "ready"\n  came     "rea" within 20 ms'
  await assert.rejects(conversation.expect('ready'), refusal('ETIMEDOUT', part))
})

test('Conversation.expectNothing() refuses what came unasked', () => {
  const { conversation, come } = fake()
  come('?')
  assert.throws(
    () => conversation.expectNothing(),
    refusal('EBADMSG', 'port 7:\n  expected nothing more\n  came     "?"'),
  )
})

test('Conversation.hear() ends when its signal is aborted, and so does every later one', async () => {
  const abort = new AbortController()
  const { conversation } = fake({ signal: abort.signal })
  const heard = conversation.hear()
  abort.abort(new Error('enough'))
  await assert.rejects(heard, /^Error: enough$/)
  await assert.rejects(conversation.hear(), /^Error: enough$/)
})
