import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientAccounts } from '../../src/iommu/client-accounts.ts'
import { ownMemlockLimit } from '../../src/os/memlock-limit.ts'
import { lockPages } from '../../src/os/mlock.ts'
import { openFds } from '../support/fds.ts'
import { LockingProcess, setLockLimit } from '../support/limited.ts'
import { SharedFile } from '../support/pin-space.ts'

const KiB = 1024
const PAGE = 4096

test('ClientAccounts.attach() gives the clients of one process one account, dropped with the last', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const fds = openFds()
  const accounts = new ClientAccounts()
  const one = accounts.attach(client.pid, 'one')
  const two = accounts.attach(client.pid, 'two')
  assert.equal(one.account, two.account)
  assert.equal(accounts.count, 1)
  one.detach()
  one.detach() // again: not the other's share
  assert.equal(accounts.count, 1)
  const three = accounts.attach(client.pid, 'three')
  assert.equal(three.account, two.account)
  two.detach()
  three.detach()
  assert.equal(accounts.count, 0)
  assert.deepEqual(openFds(), fds)
})

test('ClientAccounts.attach() keeps processes apart', async () => {
  await using one = await LockingProcess.limited(64 * KiB)
  await using other = await LockingProcess.limited(64 * KiB)
  const accounts = new ClientAccounts()
  const clients = [one, other].map(({ pid }) => accounts.attach(pid, `pid ${pid}`))
  clients[0]?.account.charge('1:1', 0, 16)
  clients[1]?.account.charge('1:1', 0, 16)
  for (const client of clients) client.detach()
})

test('ClientAccounts: the limit in force when pages are charged counts', async () => {
  await using client = await LockingProcess.limited(8 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  assert.throws(() => share.account.charge('1:1', 0, 3), {
    code: 'ENOMEM',
    message: 'vt: has 0 B locked and wants 12 KiB more, 8 KiB is its limit (RLIMIT_MEMLOCK)',
  })
  setLockLimit(client.pid, 128 * KiB)
  share.account.charge('1:1', 0, 3)
  setLockLimit(client.pid, KiB)
  assert.throws(() => share.account.charge('1:1', 3, 1), { code: 'ENOMEM' })
  share.detach()
})

test('ClientAccounts: what the process has locked itself counts', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  await client.lock(32 * KiB)
  share.account.charge('1:1', 0, 8)
  assert.throws(() => share.account.charge('1:1', 8, 1), { code: 'ENOMEM' })
  share.detach()
})

test('ClientAccounts: a process that has gone may not lock, ENODEV', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  await client.end()
  assert.throws(() => share.account.charge('1:1', 0, 1), {
    code: 'ENODEV',
    message: 'vt: the process has gone',
  })
  assert.equal(share.isExempt(), false)
  share.detach()
})

test('ClientAccounts: a process that cannot be looked at has our own limit, for each client', () => {
  const accounts = new ClientAccounts()
  const one = accounts.attach(0, 'pid 0 (?)')
  const other = accounts.attach(0, 'pid 0 (?)')
  const most = Math.floor(ownMemlockLimit() / PAGE)
  assert.ok(most < 2 ** 30, 'RLIMIT_MEMLOCK: run this with a limit')
  one.account.charge('1:1', 0, most)
  assert.throws(() => one.account.charge('1:1', most, 1), { code: 'ENOMEM' })
  other.account.charge('1:1', 0, most)
  assert.equal(one.isExempt(), false)
  one.detach()
  other.detach()
  assert.equal(accounts.count, 0)
})

test('ClientAccounts: what we have locked for a client in this very process does not count twice', () => {
  using file = new SharedFile(16)
  const share = new ClientAccounts().attach(process.pid, 'self')
  const most = Math.floor(ownMemlockLimit() / PAGE)
  share.account.charge(file.identity, 0, 16)
  lockPages(file.pieceAt(0).address, 16 * PAGE)
  share.account.charge(file.identity, 16, most - 16)
  assert.throws(() => share.account.charge(file.identity, most, 1), { code: 'ENOMEM' })
  share.detach()
})
