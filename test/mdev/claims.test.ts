/** Claims within one process. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LocalClaims } from '../../src/mdev/claims.ts'
import { uuid } from './support.ts'

describe('LocalClaims', () => {
  test('holds a UUID until it is released', () => {
    const claims = new LocalClaims()
    const claim = claims.claimUuid(uuid(1))
    assert.throws(() => claims.claimUuid(uuid(1)), { code: 'EEXIST', message: /83b8f4f2/ })
    claims.claimUuid(uuid(2))
    claim.release()
    claims.claimUuid(uuid(1))
  })

  test('gives the lowest free group number', () => {
    const claims = new LocalClaims()
    const held = [0, 1, 2, 3].map(() => claims.claimGroup())
    assert.deepEqual(
      held.map(({ value }) => value),
      [0, 1, 2, 3],
    )
    held[2]?.release()
    held[1]?.release()
    assert.deepEqual([claims.claimGroup().value, claims.claimGroup().value], [1, 2])
    assert.equal(claims.claimGroup().value, 4)
  })
})
