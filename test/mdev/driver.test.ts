/** What counts as a driver, and what the compiler infers from one. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { choice, integer } from '../../src/mdev/attribute.ts'
import { checkDriver } from '../../src/mdev/check-driver.ts'
import { defineDriver } from '../../src/mdev/driver.ts'
import { driverOf, IDENTITY, probeNothing } from './support.ts'

const SIZE = integer({ min: 0, max: 1, default: 0, description: '' })

describe('checkDriver()', () => {
  for (const name of ['mtty', 'a', '0', '_x', 'my-driver.v2']) {
    test(`accepts the name ${name}, and such a type id`, () => {
      checkDriver(driverOf({ name, types: { [name]: {} } }))
    })
  }

  test('accepts attributes with names of sysfs, in one directory at most', () => {
    const attributes = { size: SIZE, 'vendor/max-io': SIZE, _x: SIZE, '0.9': SIZE }
    checkDriver(driverOf({ attributes, parentAttributes: attributes }))
  })

  for (const [title, value, message] of [
    ['nothing', undefined, /name/],
    ['null', null, /name/],
    ['a number', 5, /name/],
    ['no name', { types: { 1: {} }, probe: probeNothing }, /name/],
    ['a name that is no text', driverOf({ name: 5 as unknown as string }), /name/],
    ...['', 'a/b', '.hidden', '..', '-x', 'a b', 'ä', 'a\n', 'a\0'].map(
      (name) => [`the name ${JSON.stringify(name)}`, driverOf({ name }), /name/] as const,
    ),
    ['no types', driverOf({ types: undefined as unknown as object as never }), /no types/],
    ['an empty list of types', driverOf({ types: {} }), /no types/],
    ...['', 'a/b', '..', '-1', '1\n'].map(
      (id) =>
        [
          `the type id ${JSON.stringify(id)}`,
          driverOf({ types: { [id]: {} } }),
          /type id/,
        ] as const,
    ),
    ['a type that is null', driverOf({ types: { 1: null as never } }), /type 1/],
    ['no probe', driverOf({ probe: undefined as unknown as typeof probeNothing }), /probe/],
    ['maxInstances below 0', driverOf({ maxInstances: -1 }), /maxInstances -1/],
    ['maxInstances that is no whole number', driverOf({ maxInstances: 1.5 }), /maxInstances 1.5/],
    ['maxInstances and available', driverOf({ maxInstances: 1, available: () => 1 }), /both/],
    ['a function', probeNothing, /types/],
    ...[
      '',
      'a/b/c',
      '/a',
      'a/',
      '../a',
      'a b',
      'remove',
      'mdev_type',
      'uevent',
      'power/control',
    ].map(
      (attribute) =>
        [
          `the attribute ${JSON.stringify(attribute)}`,
          driverOf({ attributes: { [attribute]: SIZE } }),
          /^driver test: .*attribute/,
        ] as const,
    ),
    [
      "a parent's attribute with a name that each parent has",
      driverOf({ parentAttributes: { mdev_supported_types: SIZE } }),
      /each parent has a mdev_supported_types of its own/,
    ],
    [
      'a type whose name is no text',
      driverOf({ types: { 1: { name: 5 as never } } }),
      /type 1: name/,
    ],
    ...(['open', 'close', 'available', 'parentStatus', 'typeStatus'] as const).map(
      (hook) =>
        [`${hook} that is no function`, driverOf({ [hook]: 5 }), RegExp(`${hook} is no`)] as const,
    ),
    [
      'aliases that are no list',
      driverOf({ types: { 1: { aliases: 'a' as never } } }),
      /bad alias/,
    ],
    ['an alias with a slash', driverOf({ types: { 1: { aliases: ['a/b'] } } }), /bad alias 'a\/b'/],
    [
      'an alias that is a type',
      driverOf({ types: { 1: {}, 2: { aliases: ['1'] } } }),
      /type 2: alias 1 is taken/,
    ],
    [
      'one alias of two types',
      driverOf({ types: { 1: { aliases: ['a'] }, 2: { aliases: ['a'] } } }),
      /type 2: alias a is taken/,
    ],
    [
      "a type's attribute that the driver does not declare",
      driverOf({ types: { 1: { attributes: { size: SIZE } } } }),
      /type 1: attribute size: the driver declares no such attribute/,
    ],
    [
      'an attribute that is none',
      driverOf({ attributes: { size: { default: 4 } as never } }),
      /attribute size: not made by/,
    ],
  ] as const) {
    test(`refuses ${title} with EINVAL`, () => {
      assert.throws(() => checkDriver(value), { code: 'EINVAL', message })
    })
  }
})

describe('defineDriver()', () => {
  test('returns the very driver, or refuses it', () => {
    const driver = { name: 'test', types: { 1: {} }, probe: probeNothing }
    assert.equal(defineDriver(driver), driver)
    assert.throws(() => defineDriver({ ...driver, name: 'a/b' }), { code: 'EINVAL' })
    for (const name of ['mdev_bus', 'vfio-dev'])
      assert.throws(() => defineDriver({ ...driver, name }), {
        code: 'EINVAL',
        message: /is a class in sysfs already/,
      })
  })

  test('infers types and attributes; the compiler checks this test', () => {
    const driver = defineDriver({
      name: 'test',
      types: { 1: { name: 'One', ports: 1 }, 2: { name: 'Two', ports: 2 } },
      attributes: {
        backend: choice(['pty', 'socket'], { default: 'pty', description: '' }),
        size: integer({ min: 0, max: 1, default: 0, description: '' }),
      },
      available(type, mdevs) {
        type.ports satisfies number
        return mdevs.reduce((sum, mdev) => sum + mdev.type.ports, 0)
      },
      probe(mdev) {
        mdev.type.ports satisfies number
        mdev.attributes.backend satisfies 'pty' | 'socket'
        mdev.attributes.size satisfies number
        // @ts-expect-error no such field of a type
        void mdev.type.colour
        // @ts-expect-error no such attribute
        void mdev.attributes.colour
        mdev.pci(IDENTITY)
        return { reset: () => {} }
      },
    })
    assert.equal(driver.types['2']?.ports, 2)
  })

  test('asks for a reset; the compiler checks this test', () => {
    // @ts-expect-error probe returns nothing to reset with
    const driver = defineDriver({ name: 'test', types: { 1: {} }, probe: () => ({}) })
    assert.equal(driver.name, 'test')
  })
})
