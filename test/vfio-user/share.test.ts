import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Share } from '../../src/vfio-user/share.ts'

const KIB = 1024

/** How many messages of `bytes` fit into one go. */
function messagesOf(bytes: number): number {
  const share = new Share()
  share.renew()
  let count = 1
  while (share.use(bytes)) count++
  assert.equal(share.isUsedUp, true)
  return count
}

test('Share is used up by 64 messages, fewer only on a driver that is slow', () => {
  const counts = Array.from({ length: 10 }, () => messagesOf(4))
  assert.equal(Math.max(...counts), 64)
})

test('Share is used up by 64 KiB, however few messages bring them', () => {
  assert.equal(messagesOf(64 * KIB), 1)
  assert.equal(messagesOf(1024 * KIB), 1)
  assert.equal(messagesOf(64 * KIB - 1), 2)
})

test('Share is used up when its time is, at the next look at the clock', () => {
  const share = new Share()
  for (let i = 0; i < 4; i++) assert.equal(share.use(0), true)
  const began = performance.now()
  while (performance.now() - began < 1);
  for (let i = 0; i < 3; i++) assert.equal(share.use(0), true)
  assert.equal(share.use(0), false)
})

test('Share.renew() gives all of it again', () => {
  const share = new Share()
  share.use(64 * KIB)
  assert.equal(share.isUsedUp, true)
  share.renew()
  assert.equal(share.isUsedUp, false)
  assert.equal(share.use(64 * KIB - 1), true)
})
