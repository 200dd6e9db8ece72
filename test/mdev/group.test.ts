/** Groups have one user at a time. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Group } from '../../src/mdev/group.ts'

describe('Group', () => {
  const user = (description: string) => ({ description, evict: () => {} })

  test('refuses a second user with EBUSY, naming the first', () => {
    const group = new Group(7)
    const [first, second] = [user('pid 1 (one)'), user('pid 2 (two)')]
    group.open(first)
    assert.equal(group.user, first)
    for (const other of [first, second]) {
      assert.throws(() => group.open(other), { code: 'EBUSY', message: /group 7.*pid 1 \(one\)/ })
    }
    group.close(first)
    assert.equal(group.user, undefined)
    group.open(second)
  })

  test('is closed by its user alone', () => {
    const group = new Group(0)
    const [first, second] = [user('one'), user('two')]
    group.close(second)
    group.open(first)
    group.close(second)
    assert.equal(group.user, first)
  })
})
