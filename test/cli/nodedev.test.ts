/** `mdevkit nodedev` against a machine: libvirt's XML out and in, virsh's words, and what is refused. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import * as fc from 'fast-check'
import { addNodedev } from '../../src/cli/nodedev-verbs.ts'
import { formatMdev, parseMdev } from '../../src/cli/nodedev-xml.ts'
import type { Daemon } from '../daemon/support.ts'
import { machineWith } from './mdevctl-machine.ts'

const UUID = '0000000a-0000-4000-8000-00000000000a'
const NAME = 'mdev_0000000a_0000_4000_8000_00000000000a_mprobe_a'

let daemon: Daemon
beforeEach(async () => {
  daemon = await machineWith(['mtty', 'mprobe-a'])
})
afterEach(() => daemon[Symbol.dispose]())

/** What the command prints. */
async function nodedev(...args: readonly string[]): Promise<string> {
  let printed = ''
  const program = new Command('mdevkit').exitOverride()
  const context = { plane: daemon.machine, sysfs: '/run/mdevkit/sys' }
  addNodedev(program, context, (text) => void (printed += text))
  await program.parseAsync(['nodedev', ...args], { from: 'user' })
  return printed
}

/** The path of a file that holds `xml`. */
function file(xml: string): string {
  const path = join(daemon.scratch.path, 'x.xml')
  writeFileSync(path, xml)
  return path
}

/** As in the transcript, 9.2. */
function mdevXml(inside: string, parent = '<parent>mprobe_mprobe_a</parent>'): string {
  return `<device>${parent}<capability type='mdev'>${inside}</capability></device>`
}

const ONE = mdevXml(
  `<type id='mprobe-one'/><uuid>${UUID}</uuid><attr name='assign' value='one'/><attr name='assign' value='t&lt;o'/>`,
)

describe('nodedev dumpxml', () => {
  test("prints a parent with its types, as libvirt prints the sample driver's (9.1)", async () => {
    assert.equal(
      await nodedev('dumpxml', 'mtty_mtty'),
      `<device>
  <name>mtty_mtty</name>
  <path>/run/mdevkit/sys/devices/virtual/mtty/mtty</path>
  <parent>computer</parent>
  <capability type="mdev_types">
    <capability type="mdev_types">
      <type id="mtty-1">
        <name>Single port serial</name>
        <deviceAPI>vfio-pci</deviceAPI>
        <availableInstances>24</availableInstances>
      </type>
      <type id="mtty-2">
        <name>Dual port serial</name>
        <deviceAPI>vfio-pci</deviceAPI>
        <availableInstances>12</availableInstances>
      </type>
    </capability>
  </capability>
</device>
`,
    )
  })

  test('prints an mdev as it is defined, and as it is once it is active (9.5)', async () => {
    await nodedev('define', file(ONE))
    const capability = `  <capability type="mdev">
    <type id="mprobe-one"/>
    <uuid>${UUID}</uuid>
    <parent_addr>mprobe-a</parent_addr>
    <iommuGroup number="0"/>
    <attr name="assign" value="one"/>
    <attr name="assign" value="t&lt;o"/>
  </capability>
</device>
`
    const inactive = `<device>
  <name>${NAME}</name>
  <parent>mprobe_mprobe_a</parent>
${capability}`
    assert.equal(await nodedev('dumpxml', NAME), inactive)
    await nodedev('start', NAME)
    assert.equal(
      await nodedev('dumpxml', NAME),
      `<device>
  <name>${NAME}</name>
  <path>/run/mdevkit/sys/devices/virtual/mprobe/mprobe-a/${UUID}</path>
  <parent>mprobe_mprobe_a</parent>
  <driver>
    <name>mprobe</name>
  </driver>
${capability}`,
    )
    assert.equal(await nodedev('dumpxml', NAME, '--inactive'), inactive)
  })

  test('knows only what is there', async () => {
    await assert.rejects(nodedev('dumpxml', 'nosuch'), {
      code: 'ENOENT',
      message: /no node device with matching name 'nosuch'/,
    })
  })
})

test('nodedev define, start, autostart, info, destroy and undefine go as in 9.5', async () => {
  const path = file(ONE)
  for (let i = 0; i < 2; i++)
    assert.equal(await nodedev('define', path), `Node device '${NAME}' defined from '${path}'\n`)
  assert.deepEqual(daemon.definitions.list().mdevs[0]!.definition, {
    type: 'mprobe-one',
    start: 'manual',
    attributes: [
      ['assign', 'one'],
      ['assign', 't<o'],
    ],
  })
  assert.equal(await nodedev('list', '--cap', 'mdev'), '')
  assert.equal(await nodedev('list', '--cap', 'mdev', '--inactive'), `${NAME}\n`)
  assert.equal(await nodedev('list', '--cap', 'mdev', '--all', '--persistent'), `${NAME}\n`)
  assert.equal(await nodedev('list', '--cap', 'mdev', '--all', '--transient'), '')
  assert.equal(await nodedev('list'), 'mprobe_mprobe_a\nmtty_mtty\n')
  assert.equal(await nodedev('start', NAME), `Device ${NAME} started\n`)
  await assert.rejects(nodedev('start', NAME), {
    code: 'EEXIST',
    message: /Device is already active/,
  })
  assert.equal(await nodedev('autostart', NAME), `Device ${NAME} marked as autostarted\n`)
  assert.equal(
    await nodedev('info', NAME),
    `Name:           ${NAME}
Parent:         mprobe_mprobe_a
Active:         yes
Persistent:     yes
Autostart:      yes
`,
  )
  assert.equal(
    await nodedev('autostart', '--disable', NAME),
    `Device ${NAME} unmarked as autostarted\n`,
  )
  assert.equal(await nodedev('undefine', NAME), `Undefined node device '${NAME}'\n`)
  await assert.rejects(nodedev('undefine', NAME), { code: 'ENOENT', message: /is not defined/ })
  await assert.rejects(nodedev('dumpxml', NAME, '--inactive'), { code: 'ENOENT' })
  assert.equal(await nodedev('list', '--cap', 'mdev', '--transient'), `${NAME}\n`)
  assert.equal(await nodedev('destroy', NAME), `Destroyed node device '${NAME}'\n`)
  await assert.rejects(nodedev('destroy', NAME), { code: 'ENOENT' })
  await assert.rejects(nodedev('destroy', 'mtty_mtty'), {
    code: 'EOPNOTSUPP',
    message: /Unsupported device type/,
  })
})

describe('nodedev create', () => {
  test('makes an mdev that is not defined, once (9.2)', async () => {
    const path = file(ONE)
    assert.equal(await nodedev('create', path), `Node device ${NAME} created from ${path}\n`)
    assert.equal(await nodedev('list', '--cap', 'mdev'), `${NAME}\n`)
    await assert.rejects(nodedev('create', path), { code: 'EEXIST' })
  })

  test('gives it a fresh UUID where the file has none', async () => {
    const printed = await nodedev('create', file(mdevXml("<type id='mprobe-two'/>")))
    assert.match(printed, /^Node device mdev_[0-9a-f_]{36}_mprobe_a created from /)
  })

  /** What it is, the XML, and the refusal. */
  const TYPE = "<type id='mprobe-one'/>"
  const REFUSED: readonly (readonly [string, string, string, RegExp])[] = [
    ['no type of the parent', mdevXml("<type id='nosuch'/>"), 'ENOENT', /type nosuch/],
    [
      'no parent of that name',
      mdevXml(TYPE, '<parent>nosuch</parent>'),
      'ENOENT',
      /^invalid parent device 'nosuch'$/,
    ],
    ['no parent', mdevXml(TYPE, ''), 'EINVAL', /^missing parent device$/],
    ['an empty parent', mdevXml(TYPE, '<parent/>'), 'EINVAL', /^missing parent device$/],
    [
      'the computer as parent',
      mdevXml(TYPE, '<parent>computer</parent>'),
      'EINVAL',
      /address for parent device 'computer'$/,
    ],
    [
      'no type',
      mdevXml(`<uuid>${UUID}</uuid>`),
      'EINVAL',
      /^missing type id attribute for 'new device'$/,
    ],
    [
      'a UUID that is none',
      mdevXml(`${TYPE}<uuid>nonsense</uuid>`),
      'EINVAL',
      /^Invalid uuid 'nonsense' for new mdev device$/,
    ],
    [
      'an attribute that nobody knows',
      mdevXml(`${TYPE}<attr name='nosuch' value='one'/>`),
      'ENOENT',
      /nosuch/,
    ],
    [
      'an attribute without a value',
      mdevXml(`${TYPE}<attr name='assign'/>`),
      'EINVAL',
      /needs both/,
    ],
    [
      'another capability',
      '<device><capability type="pci"/></device>',
      'EINVAL',
      /no capability of type 'mdev'/,
    ],
    [
      'another element',
      '<domain/>',
      'EINVAL',
      /unexpected root element <domain>, expecting <device>/,
    ],
    ['a torn file', ONE.slice(0, -20), 'EINVAL', /XML error: line 1/],
    ['no XML', 'nonsense', 'EINVAL', /XML error/],
    ['nothing', '', 'EINVAL', /XML error/],
    ['a document type', `<!DOCTYPE device [<!ENTITY a "b">]>${ONE}`, 'EINVAL', /document type/],
    ['too much', mdevXml(`${TYPE}<!--${'x'.repeat(2 ** 20)}-->`), 'E2BIG', /characters/],
  ]
  for (const [what, xml, code, message] of REFUSED) {
    test(`refuses ${what} with ${code}`, async () => {
      await assert.rejects(nodedev('create', file(xml)), { code, message })
      assert.equal(await nodedev('list', '--cap', 'mdev', '--all'), '')
    })
  }
})

describe('XML', () => {
  test('of an mdev comes back as it went out, whatever its attributes are', () => {
    const word = fc
      .string({
        unit: fc.constantFrom('a', '<', '>', '&', "'", '"', ' ', 'é', '\t', ';', '=', '/'),
        minLength: 1,
      })
      .filter((text) => text.trim() === text)
    fc.assert(
      fc.property(fc.array(fc.tuple(word, word)), (attributes) => {
        const definition = { type: 'mtty-1', start: 'manual' as const, attributes }
        const parent = {
          name: 'mtty',
          driver: 'mtty',
          pid: 1,
          state: 'registered' as const,
          types: [],
          settings: [],
          values: {},
          status: {},
          faults: [],
          parentAttributes: [],
          attributes: [],
          mdevs: [],
        }
        const xml = formatMdev({ parent: 'mtty', uuid: UUID, definition }, parent, '/sys')
        assert.deepEqual(parseMdev(xml), {
          parent: 'mtty_mtty',
          type: 'mtty-1',
          uuid: UUID,
          attributes,
        })
      }),
    )
  })

  test('that is random is read or refused, and nothing else', () => {
    const piece = fc.constantFrom(
      '<device>',
      '</device>',
      '<capability type="mdev">',
      '</capability>',
      '<type id="a"/>',
      '<uuid>',
      '</uuid>',
      UUID,
      '<parent>x</parent>',
      '<attr name="__proto__" value="1"/>',
      '&lt;',
      '<',
      '>',
      '"',
      '<__proto__/>',
      '<constructor a="b"/>',
      '<![CDATA[',
      ']]>',
      '<!--',
      '-->',
      '<?xml version="1.0"?>',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          parseMdev(pieces.join(''))
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'EINVAL')
        }
      }),
      { numRuns: 2000 },
    )
  })
})
