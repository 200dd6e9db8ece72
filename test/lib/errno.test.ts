/** Errors: names, numbers, and the errno of anything thrown. */
import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { describeError, errnoCode, ErrnoError, errnoOf } from '../../src/lib/errno.ts'

/** Linux numbers, from the reference of vfio-user; EOVERFLOW, EPROTO and EAGAIN from <asm-generic/errno.h>. */
const NUMBERS = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  E2BIG: 7,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSPC: 28,
  ENOSYS: 38,
  EPROTO: 71,
  EOVERFLOW: 75,
  ETIMEDOUT: 110,
} as const

describe('ErrnoError', () => {
  for (const [code, errno] of Object.entries(NUMBERS) as [keyof typeof NUMBERS, number][]) {
    test(`${code} is ${errno}, both ways`, () => {
      const error = new ErrnoError(code, 'what is wrong')
      assert.equal(error.code, code)
      assert.equal(error.errno, errno)
      assert.equal(errnoOf(error), errno)
      assert.equal(errnoCode(errno), code)
    })
  }

  test('is an Error with a name, a message and perhaps a cause', () => {
    const cause = new Error('below')
    const error = new ErrnoError('EFAULT', 'pin 0x1000: not mapped', { cause })
    assert.ok(error instanceof Error)
    assert.equal(error.name, 'ErrnoError')
    assert.equal(error.message, 'pin 0x1000: not mapped')
    assert.equal(error.cause, cause)
    assert.match(error.stack ?? '', /^ErrnoError|^Error/)
  })
})

describe('errnoCode()', () => {
  test('prefers the usual of two names', () => {
    assert.equal(errnoCode(11), 'EAGAIN') // not EWOULDBLOCK
    assert.ok(['EOPNOTSUPP', 'ENOTSUP'].includes(errnoCode(95)), errnoCode(95))
  })

  test('is EIO for a number that Linux does not know', () => {
    for (const errno of [0, -22, 41, 200, 4095, 4096, 1e9, Number.NaN]) {
      assert.equal(errnoCode(errno), 'EIO', String(errno))
    }
  })
})

describe('errnoOf()', () => {
  test("takes Node's own system errors, whose errno is negative", () => {
    const open = thrownBy(() => openSync('/no/such/file', 'r'))
    assert.ok((open as NodeJS.ErrnoException).errno === -2)
    assert.equal(errnoOf(open), 2)
  })

  test("takes Node's asynchronous system errors", async () => {
    const error = await new Promise((resolve) => connect('/no/such/socket').on('error', resolve))
    assert.equal(errnoOf(error), 2)
  })

  test('keeps a number that is an errno but has no name', () => {
    assert.equal(errnoOf(Object.assign(new Error(), { errno: 517 })), 517) // EPROBE_DEFER of the kernel
    assert.equal(errnoOf(Object.assign(new Error(), { errno: -4095 })), 4095)
  })

  test('is EIO for an errno that is none', () => {
    for (const errno of [0, -0, 4096, -4096, Number.NaN, Infinity, '22', null, undefined]) {
      assert.equal(errnoOf(Object.assign(new Error(), { errno })), 5, String(errno))
    }
  })

  test('is EIO for an errno that is no integer', () => {
    assert.equal(errnoOf(Object.assign(new Error(), { errno: 1.5 })), 5)
  })

  test('is a positive integer up to 4095 for anything at all', () => {
    fc.assert(
      fc.property(fc.anything(), (thrown) => {
        const errno = errnoOf(thrown)
        assert.ok(Number.isInteger(errno) && errno > 0 && errno <= 4095)
      }),
    )
    assert.equal(errnoOf({ errno: 22 }), 5) // looks like one, but was not thrown as an error
    assert.equal(errnoOf(undefined), 5)
  })
})

describe('describeError()', () => {
  test('puts the code in front, once', () => {
    assert.equal(describeError(new ErrnoError('EBUSY', 'mdev: in use')), 'EBUSY: mdev: in use')
    const open = thrownBy(() => openSync('/no/such/file', 'r'))
    assert.equal(describeError(open), "ENOENT: no such file or directory, open '/no/such/file'")
  })

  test('takes anything', () => {
    assert.equal(describeError(new TypeError('x is not a function')), 'x is not a function')
    assert.equal(describeError(Object.assign(new Error('m'), { code: 7 })), 'm')
    assert.equal(describeError('text'), 'text')
    assert.equal(describeError(undefined), 'undefined')
  })

  test('never throws', () => {
    fc.assert(
      fc.property(fc.anything(), (thrown) => {
        assert.equal(typeof describeError(thrown), 'string')
      }),
    )
  })
})

function thrownBy(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  assert.fail('nothing was thrown')
}
