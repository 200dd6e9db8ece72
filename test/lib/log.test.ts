/** Log lines: which are written, and what stands in front. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { createLogger, silentLogger, type LogLevel } from '../../src/lib/log.ts'

function logAt(level: LogLevel) {
  const lines: string[] = []
  return { lines, log: createLogger(level, (line) => lines.push(line)) }
}

const WRITTEN = {
  debug: ['debug: d', 'i', 'warn: w', 'error: e'],
  info: ['i', 'warn: w', 'error: e'],
  warn: ['warn: w', 'error: e'],
  error: ['error: e'],
} as const satisfies Record<LogLevel, readonly string[]>

describe('createLogger()', () => {
  for (const [level, expected] of Object.entries(WRITTEN)) {
    test(`at ${level} writes ${expected.length} of the four levels`, () => {
      const { lines, log } = logAt(level as LogLevel)
      log.debug('d')
      log.info('i')
      log.warn('w')
      log.error('e')
      assert.deepEqual(lines, expected)
    })
  }

  test('puts the tags of its children in front, outermost first', () => {
    const { lines, log } = logAt('info')
    const child = log.child('mtty').child('83c32df7')
    child.info('attached')
    child.warn('slow')
    log.info('untagged')
    assert.deepEqual(lines, ['mtty: 83c32df7: attached', 'warn: mtty: 83c32df7: slow', 'untagged'])
  })

  test('error() adds the cause with its code', () => {
    const { lines, log } = logAt('warn')
    log.error('replying EIO', new ErrnoError('EFAULT', 'pin 0x1000: not mapped'))
    log.error('replying EIO', 'a string')
    assert.deepEqual(lines, [
      'error: replying EIO: EFAULT: pin 0x1000: not mapped',
      'error: replying EIO: a string',
    ])
  })

  test('error() says where its cause comes from, and at debug shows its stack', () => {
    const { lines, log } = logAt('debug')
    const cause = new Error('a bug')
    log.error('replying EIO', cause)
    assert.match(lines[0] ?? '', /^error: replying EIO: a bug \(\/.*log\.test\.[jt]s:\d+\)$/)
    assert.ok(
      lines.some((line) => line.includes(cause.stack ?? '-')),
      lines.join('\n'),
    )
  })
})

test('silentLogger says nothing, and its children neither', (t) => {
  const write = t.mock.method(process.stderr, 'write', () => true)
  silentLogger.error('e', new Error('x'))
  silentLogger.child('tag').error('e')
  assert.equal(write.mock.callCount(), 0)
})
