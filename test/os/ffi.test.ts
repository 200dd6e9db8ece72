import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import {
  addressOf,
  bytesAt,
  cCallback,
  cFunction,
  cFunctionAsync,
  check,
  lastErrno,
  systemError,
} from '../../src/os/ffi.ts'

const close = cFunction('close', 'int', ['int'])

test('cFunction() calls the C library, with numbers', () => {
  assert.equal(cFunction('getppid', 'int', [])(), process.ppid)
  assert.equal(cFunction('labs', 'size', ['size'])(-(2 ** 40)), 2 ** 40)
})

test('cFunction() throws for a function that is not exported', () => {
  assert.throws(() => cFunction('mdevkit_has_no_such_function', 'int', []))
})

test('cFunctionAsync() hands the result to its callback', async () => {
  const getppid = cFunctionAsync('getppid', 'int', [])
  const result = await new Promise<number>((resolve, reject) => {
    getppid([], (error, value) => (error === null ? resolve(value) : reject(error)))
  })
  assert.equal(result, process.ppid)
})

test('lastErrno() and systemError() say why the last call failed', () => {
  assert.equal(close(-1), -1)
  assert.equal(lastErrno(), 9) // EBADF
  const error = systemError('close nothing')
  assert.ok(error instanceof ErrnoError)
  assert.equal(error.code, 'EBADF')
  assert.equal(error.message, 'close nothing')
})

test('check() passes a result on and throws for a negative one', () => {
  assert.equal(check(0, 'nothing'), 0)
  assert.equal(check(7, 'nothing'), 7)
  assert.throws(() => check(close(-1), 'close nothing'), {
    code: 'EBADF',
    message: 'close nothing',
  })
})

test('addressOf() and bytesAt() are the same memory', () => {
  const bytes = new Uint8Array([1, 2, 3, 4])
  const address = addressOf(bytes)
  assert.equal(addressOf(bytes.subarray(1)), address + 1)
  const view = new Uint8Array(bytesAt(address, 4))
  view[2] = 33
  assert.deepEqual([...bytes], [1, 2, 33, 4])
})

test('cCallback() makes a function pointer that C can call', () => {
  let calls = 0
  const pointer = cCallback([], () => void calls++)
  // pthread_once calls it at once, the first time only
  const pthreadOnce = cFunction('pthread_once', 'int', ['ptr', 'ptr'])
  const control = new Int32Array(1)
  assert.equal(pthreadOnce(addressOf(control), pointer), 0)
  assert.equal(pthreadOnce(addressOf(control), pointer), 0)
  assert.equal(calls, 1)
})
