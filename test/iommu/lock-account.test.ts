import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixedLimit, LockAccount } from '../../src/iommu/lock-account.ts'
import { ErrnoError } from '../../src/lib/errno.ts'

const KiB = 1024

test('LockAccount.charge() counts a page of a file once, until each charge is taken back', () => {
  const account = new LockAccount('parent a', fixedLimit('lock limit', Infinity))
  account.charge('1:1', 0, 4)
  account.charge('1:1', 2, 4)
  assert.equal(account.pages, 6)
  account.charge('1:2', 0, 4) // another file
  assert.equal(account.pages, 10)
  account.uncharge('1:1', 0, 4)
  assert.equal(account.pages, 8)
  account.uncharge('1:1', 2, 4)
  account.uncharge('1:2', 0, 4)
  assert.equal(account.pages, 0)
})

test('LockAccount.charge() refuses what is beyond the limit with ENOMEM, and charges none of it', () => {
  const account = new LockAccount('pid 7 (vmm)', fixedLimit('lock limit', 64 * KiB))
  account.charge('1:1', 0, 12)
  assert.throws(() => account.charge('1:1', 10, 7), {
    code: 'ENOMEM',
    message:
      'pid 7 (vmm): has 48 KiB locked and wants 20 KiB more, 64 KiB is its limit (lock limit)',
  })
  assert.equal(account.pages, 12)
  account.charge('1:1', 10, 6)
  account.charge('1:1', 0, 16) // nothing new
  assert.equal(account.pages, 16)
})

test('LockAccount.charge() of what is charged already is never refused', () => {
  let limit = 16 * KiB
  const account = new LockAccount('parent a', {
    name: 'lock limit',
    bytes: () => limit,
    lockedElsewhere: () => 0,
  })
  account.charge('1:1', 0, 4)
  limit = 0
  account.charge('1:1', 1, 2)
  assert.throws(() => account.charge('1:1', 1, 4), { code: 'ENOMEM' })
  assert.equal(account.pages, 4)
})

test('LockAccount.charge() counts whole pages against a limit that is not', () => {
  const account = new LockAccount('parent a', fixedLimit('lock limit', 4095))
  assert.throws(() => account.charge('1:1', 0, 1), { code: 'ENOMEM' })
})

test('LockAccount.charge() counts exempt pages without asking for the limit', () => {
  const account = new LockAccount('parent a', {
    name: 'lock limit',
    bytes: () => assert.fail('asked'),
    lockedElsewhere: () => 0,
  })
  account.charge('1:1', 0, 512, true)
  assert.equal(account.pages, 512)
})

test('LockAccount.charge() counts what is locked elsewhere', () => {
  const limit = { name: 'lock limit', bytes: () => 16 * KiB, lockedElsewhere: () => 8 * KiB }
  const account = new LockAccount('parent a', limit)
  assert.throws(() => account.charge('1:1', 0, 3), { code: 'ENOMEM' })
  account.charge('1:1', 0, 2)
})

test('LockAccount.charge() has charged nothing when the limit cannot be told', () => {
  const account = new LockAccount('parent a', {
    name: 'lock limit',
    bytes() {
      throw new ErrnoError('ENODEV', 'gone')
    },
    lockedElsewhere: () => 0,
  })
  assert.throws(() => account.charge('1:1', 0, 1), { code: 'ENODEV' })
  assert.equal(account.pages, 0)
})
