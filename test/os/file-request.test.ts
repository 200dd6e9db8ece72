/** Requests to files, and what is left of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FileRequest } from '../../src/os/file-request.ts'

const MOST = 2 ** 30 // of one buffer, for libuv

test('what is joined becomes one piece, and what has moved is left out', () => {
  const [one, other] = [new Uint8Array(100), new Uint8Array(100)].map((bytes, i) => ({
    bytes,
    address: 1000 * (i + 1),
  }))
  const request = new FileRequest().start('read', 3, 50, () => {})
  request.add(one!, 10, 20)
  request.add(one!, 30, 5)
  request.add(one!, 35, 0)
  request.add(other!, 35, 10)
  assert.deepEqual([request.pieces, request.length], [2, 35])
  request.advance(7)
  assert.deepEqual([request.position, request.pieces, request.length], [57, 2, 28])
  assert.deepEqual([request.addressAt(0), request.lengthAt(0)], [1017, 18])
  assert.deepEqual(
    request.buffers().map(({ byteOffset, length }) => [byteOffset, length]),
    [
      [17, 18],
      [35, 10],
    ],
  )
  request.advance(18)
  assert.deepEqual([request.pieces, request.addressAt(0)], [1, 2035])
  request.advance(10)
  assert.deepEqual([request.pieces, request.length, request.buffers()], [0, 0, []])
})

test('buffers() gives what one call takes: not too many, and none too long', () => {
  const block = { bytes: new Uint8Array(MOST + 5), address: 0 } // which nobody touches
  const request = new FileRequest().start('write', 3, 0, () => {})
  request.add(block, 0, MOST + 5)
  request.add(block, 0, 5)
  assert.deepEqual(
    request.buffers().map(({ length }) => length),
    [MOST],
  )
  request.advance(MOST)
  assert.deepEqual(
    request.buffers().map(({ length }) => length),
    [5, 5],
  )
  request.start('write', 3, 0, () => {})
  for (let i = 0; i < 2000; i++) request.add(block, 2 * i, 1)
  assert.equal(request.buffers().length, 1024)
  request.advance(1024)
  assert.equal(request.buffers().length, 976)
})
