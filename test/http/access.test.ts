/** Tokens: who has none, a wrong one, or the right one. */
import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { describe, test } from 'node:test'
import { accessByToken } from '../../src/http/access.ts'

const ADMIN = 'a'.repeat(32)
const READ = 'r'.repeat(40)

function accessOf(tokens: Parameters<typeof accessByToken>[0], authorization?: string) {
  return accessByToken(tokens).accessOf({ headers: { authorization } } as IncomingMessage)
}

describe('accessByToken()', () => {
  for (const [authorization, expected] of [
    [undefined, undefined],
    ['', undefined],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    [`Bearer ${ADMIN}`, 'admin'],
    [`bearer  ${ADMIN}`, 'admin'],
    [`Bearer ${READ}`, 'read'],
    [`Bearer ${ADMIN}x`, undefined],
    [`Bearer ${ADMIN.slice(1)}`, undefined],
    [`Bearer ${ADMIN} ${READ}`, undefined],
    [`Basic ${ADMIN}`, undefined],
  ] as const) {
    test(`lets ${JSON.stringify(authorization)} do ${expected ?? 'nothing'}`, () => {
      assert.equal(accessOf({ admin: ADMIN, read: READ }, authorization), expected)
    })
  }

  test('lets nobody in by a read token where there is none', () => {
    assert.equal(accessOf({ admin: ADMIN }, `Bearer ${READ}`), undefined)
    assert.equal(accessOf({ admin: ADMIN }, 'Bearer undefined'), undefined)
  })

  test('refuses tokens of less than 32 characters with EINVAL', () => {
    assert.throws(() => accessByToken({ admin: 'x'.repeat(31) }), { code: 'EINVAL' })
    assert.throws(() => accessByToken({ admin: ADMIN, read: '' }), { code: 'EINVAL' })
  })
})
