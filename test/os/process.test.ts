import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { isRunning, processIdentity, processName } from '../../src/os/process.ts'
import { ended, start } from '../support/child.ts'
import { until } from '../support/until.ts'

test('processName() is what ps shows, and ? for a process that has gone', async () => {
  const child = start('cat', [])
  await once(child, 'spawn')
  const { pid = -1 } = child
  assert.equal(processName(pid), 'cat')
  child.stdin?.end()
  await ended(child)
  assert.equal(processName(pid), '?')
})

test('processIdentity() names a process by its pid and when it began', () => {
  const identity = processIdentity(process.pid)
  assert.match(identity ?? '', new RegExp(`^${process.pid}@\\d+$`))
  assert.equal(processIdentity(process.pid), identity)
  assert.equal(processIdentity(4_194_304_999), undefined)
})

test('processIdentity() takes a name with brackets in it for what it is', async () => {
  const child = start('sh', ['-c', 'printf "a) Z (1 2" > /proc/self/comm; echo; read line'])
  assert.ok(child.stdout !== null)
  await once(child.stdout, 'data')
  const { pid = -1 } = child
  assert.equal(processName(pid), 'a) Z (1 2')
  const identity = processIdentity(pid)
  assert.ok(identity !== undefined)
  assert.ok(isRunning(identity))
  child.stdin?.end()
  await ended(child)
  assert.ok(!isRunning(identity))
})

test('processIdentity() is of no zombie', async () => {
  // the shell's child ends, and is waited for only when the shell is told to
  const child = start('sh', ['-c', 'sleep 0 & echo $!; read line; wait'])
  assert.ok(child.stdout !== null)
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer]
  const pid = Number(String(chunk))
  await until(() => assert.equal(processIdentity(pid), undefined))
  child.stdin?.end()
  await ended(child)
})

test('isRunning() is false for a process that has the pid of another, and true for who is no process', () => {
  const identity = processIdentity(process.pid) ?? ''
  assert.ok(isRunning(identity))
  assert.ok(!isRunning(`${identity}0`))
  assert.ok(!isRunning('4194304999@1'))
  assert.ok(isRunning('? somebody'))
})
