/** Settings: what each kind accepts, and what their values are to the compiler. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  type Attributes,
  choice,
  flag,
  integer,
  parseAttributes,
  text,
  type ValuesOf,
} from '../../src/mdev/attribute.ts'

const description = 'for a test'

describe('choice()', () => {
  const backend = choice(['pty', 'socket'], { default: 'pty', description })

  test('accepts its words, exactly', () => {
    assert.deepEqual(
      [backend.parse('pty'), backend.parse('socket'), backend.default],
      ['pty', 'socket', 'pty'],
    )
    assert.equal(backend.accepts, 'pty|socket')
    for (const bad of ['', 'PTY', ' pty', 'pty\n', 'pt', 'toString']) {
      assert.throws(() => backend.parse(bad), {
        code: 'EINVAL',
        message: `${JSON.stringify(bad)} is not one of pty|socket`,
      })
    }
  })
})

describe('integer()', () => {
  const size = integer({ min: -4, max: 300, default: 16, description })

  for (const [written, value] of [
    ['0', 0],
    ['-4', -4],
    ['300', 300],
    ['0x1f', 31],
    ['0X1F', 31],
    ['010', 10],
  ] as const) {
    test(`accepts ${written} as ${value}`, () => assert.equal(size.parse(written), value))
  }

  for (const bad of [
    '',
    ' ',
    ' 1',
    '1 ',
    '1\n',
    '-5',
    '301',
    '1.0',
    '1e2',
    '+1',
    '--1',
    '-0x1',
    '0x',
    '0xg',
    '0b1',
    'NaN',
    'Infinity',
    '1_0',
    '9'.repeat(400),
  ]) {
    test(`refuses ${JSON.stringify(bad.slice(0, 20))} with EINVAL`, () => {
      assert.throws(() => size.parse(bad), { code: 'EINVAL', message: /is not one of -4\.\.300$/ })
    })
  }
})

describe('text()', () => {
  test('accepts anything', () => {
    const path = text({ default: '/tmp', description })
    assert.deepEqual([path.parse(''), path.parse('a\nb'), path.default], ['', 'a\nb', '/tmp'])
  })
})

describe('flag()', () => {
  const readOnly = flag({ default: false, description })

  // Linux, lib/kstrtox.c, kstrtobool(): the first letters decide; whole words are asked for here
  for (const [written, value] of [
    ['1', true],
    ['0', false],
    ['Y', true],
    ['no', false],
    ['On', true],
    ['off', false],
    ['true', true],
    ['FALSE', false],
  ] as const) {
    test(`accepts ${written} as ${value}`, () => assert.equal(readOnly.parse(written), value))
  }

  for (const bad of ['', '2', 'yep', '1\n', 'o']) {
    test(`refuses ${JSON.stringify(bad)} with EINVAL`, () => {
      assert.throws(() => readOnly.parse(bad), { code: 'EINVAL', message: /is not one of 0\|1$/ })
    })
  }
})

describe('Attribute', () => {
  test('says when a change takes effect, at the next start unless told, and what may be written, as JSON Schema', () => {
    const attributes = [
      choice(['pty', 'socket'], { default: 'pty', description, change: 'live' }),
      integer({ min: 1, max: 9, default: 4, description, change: 're-creation' }),
      flag({ default: true, description }),
      text({ default: '', description }),
    ]
    assert.deepEqual(
      attributes.map(({ change }) => change),
      ['live', 're-creation', 'next-start', 'next-start'],
    )
    assert.deepEqual(
      attributes.map(({ schema }) => schema),
      [
        { type: 'string', enum: ['pty', 'socket'] },
        { type: 'integer', minimum: 1, maximum: 9 },
        { type: 'boolean' },
        { type: 'string' },
      ],
    )
  })
})

describe('parseAttributes()', () => {
  const attributes = {
    backend: choice(['pty', 'socket'], { default: 'pty', description }),
    size: integer({ min: 1, max: 9, default: 4, description }),
  }

  test('takes what is given and defaults for the rest', () => {
    assert.deepEqual(parseAttributes(attributes, []), { backend: 'pty', size: 4 })
    assert.deepEqual(parseAttributes(attributes, [['size', '9']]), { backend: 'pty', size: 9 })
    assert.deepEqual(parseAttributes({}, []), {})
  })

  test('applies texts in their order: the last of a name holds, and a bad one before it still refuses', () => {
    const twice = [
      ['size', '3'],
      ['backend', 'socket'],
      ['size', '5'],
    ] as const
    assert.deepEqual(parseAttributes(attributes, twice), { backend: 'socket', size: 5 })
    assert.throws(() => parseAttributes(attributes, [['size', '0'], ...twice]), { code: 'EINVAL' })
  })

  test('keeps what was before where nothing is given', () => {
    const before = { backend: 'socket', size: 7 } as const
    assert.deepEqual(parseAttributes(attributes, [['size', '1']], before), {
      backend: 'socket',
      size: 1,
    })
    assert.deepEqual(before, { backend: 'socket', size: 7 })
  })

  for (const name of ['colour', 'Size', '', 'toString', '__proto__', 'constructor']) {
    test(`refuses the unknown name ${JSON.stringify(name)} with ENOENT, saying which there are`, () => {
      const texts = [[name, '1']] as const
      assert.throws(() => parseAttributes(attributes, texts), {
        code: 'ENOENT',
        message: `attribute ${name}: not known here; known: backend, size`,
      })
      assert.throws(() => parseAttributes({}, texts), { code: 'ENOENT', message: /known: none$/ })
    })
  }

  test('names the attribute whose value is bad, and keeps its errno', () => {
    assert.throws(() => parseAttributes(attributes, [['size', '10']]), {
      code: 'EINVAL',
      message: 'attribute size: "10" is not one of 1..9',
    })
  })

  test("lets a bug in a driver's parse through as it is", () => {
    const failure = new TypeError('parse')
    const broken = {
      ...text({ default: '', description }),
      parse: () => {
        throw failure
      },
    }
    assert.throws(
      () => parseAttributes({ broken }, [['broken', '']]),
      (error) => error === failure,
    )
  })
})

describe('ValuesOf', () => {
  const attributes = {
    backend: choice(['pty', 'socket'], { default: 'pty', description }),
    size: integer({ min: 1, max: 9, default: 4, description }),
    path: text({ default: '', description }),
  }

  test('is what each attribute parses to; the compiler checks this test', () => {
    const values = parseAttributes(attributes, []) satisfies ValuesOf<typeof attributes>
    values.backend satisfies 'pty' | 'socket'
    values.size satisfies number
    values.path satisfies string
    // @ts-expect-error not one of the words
    assert.notEqual(values.backend, 'loopback' satisfies typeof values.backend)
    // @ts-expect-error a number is no string
    values.size satisfies string
    // @ts-expect-error no such attribute
    assert.equal(values.colour, undefined)
    assert.ok(attributes satisfies Attributes)
  })

  test('a default must be one of the words; the compiler checks this test', () => {
    // @ts-expect-error 'loopback' is none
    const odd = choice(['pty', 'socket'], { default: 'loopback', description })
    assert.equal(odd.accepts, 'pty|socket')
  })
})
