/** What people see: tables and event lines, to the letter, and colours on a terminal alone. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { eventText } from '../../src/cli/event-text.ts'
import type { MachineView } from '../../src/cli/machine-view.ts'
import { mdevTable, typeTable } from '../../src/cli/mdev-table.ts'
import { paintsFor } from '../../src/cli/paint.ts'
import { statusText } from '../../src/cli/status.ts'
import { table } from '../../src/cli/table.ts'
import { UnreachableError } from '../../src/http/unreachable-error.ts'
import type { MachineEvent } from '../../src/http/events.ts'
import type { MdevSnapshot, ParentView, TypeSnapshot } from '../../src/http/model.ts'
import { PROJECT } from '../support/mdevkit.ts'

const PLAIN = paintsFor({})
const UUID = (last: number) => `00000000-0000-4000-8000-00000000000${last}`

/** Of snapshots only what is shown is here. */
const TYPES = [
  {
    name: 'mtty-1',
    prettyName: 'Single port serial',
    deviceApi: 'vfio-pci',
    availableInstances: 22,
  },
  { name: 'mtty-2', prettyName: 'Dual port serial', deviceApi: 'vfio-pci', availableInstances: 11 },
] as unknown as readonly TypeSnapshot[]
const ACTIVE = {
  uuid: UUID(1),
  parent: 'serial',
  type: 'mtty-2',
  state: 'active',
  group: 7,
  attributes: [],
  status: {},
  client: 'pid 4711 (qemu-system-x86)',
  socket: `/run/mdevkit/devices/${UUID(1)}/cntrl`,
} as unknown as MdevSnapshot
const SERIAL = {
  name: 'serial',
  driver: 'mtty',
  state: 'registered',
  types: TYPES,
  attributes: [],
  mdevs: [ACTIVE],
  pid: 815,
} as unknown as ParentView
const WAITING = {
  name: 'net',
  driver: 'net',
  state: 'unregistered',
  types: [],
  attributes: [],
  mdevs: [],
  waits: 'EINVAL: driver net: it cannot be loaded',
} as unknown as ParentView
const FAULT = { path: '/etc/mdevctl.d/serial/nonsense', message: 'EINVAL: invalid json' }

const VIEW: MachineView = {
  daemon: { status: 'ok', version: '0.1.0', pid: 42 },
  parents: [WAITING, SERIAL],
  mdevs: [
    {
      uuid: UUID(1),
      parent: 'serial',
      active: ACTIVE,
      definition: { type: 'mtty-2', start: 'auto', attributes: [] },
    },
    {
      uuid: UUID(2),
      parent: 'net',
      definition: { type: 'net-1', start: 'auto', attributes: [] },
      waits: 'parent net: no host runs it',
    },
    {
      uuid: UUID(3),
      parent: 'serial',
      definition: { type: 'mtty-1', start: 'manual', attributes: [] },
    },
  ],
  faults: [FAULT],
  foreground: [
    { uuid: UUID(4), parent: 'mtty', pid: 4242, socket: `/run/mdevkit/devices/${UUID(4)}/cntrl` },
  ],
  silent: [],
}

/** Golden files: what is in them is what scripts and people rely on. */
const GOLDEN: Readonly<Record<string, () => string>> = {
  'status.txt': () => statusText(VIEW, '/run/mdevkit/api.sock', PLAIN),
  'status-without-daemon.txt': () =>
    statusText(
      {
        daemon: undefined,
        unreachable: new UnreachableError('ECONNREFUSED', 'nobody'),
        parents: [{ ...SERIAL, mdevs: [] }],
        mdevs: [],
        faults: [],
        foreground: [],
        silent: [],
      },
      '/run/mdevkit/api.sock',
      PLAIN,
    ),
  'types-table.txt': () => typeTable([SERIAL]),
  'list-table-empty.txt': () => mdevTable([], PLAIN),
  'events.txt': () => {
    const { parents, mdevs, faults } = VIEW
    const key = { parent: 'serial', uuid: UUID(1) }
    const happened: readonly MachineEvent[] = [
      { action: 'change', parent: 'serial', MDEV_STATE: 'registered', view: SERIAL },
      { action: 'add', ...key, mdev: ACTIVE, types: TYPES },
      { action: 'attach', ...key, mdev: ACTIVE, types: TYPES },
      { action: 'online', ...key, mdev: ACTIVE, types: TYPES, SYNTH_UUID: '0' },
      {
        action: 'define',
        ...key,
        definition: { type: 'mtty-2', start: 'auto', attributes: [] },
      },
      { action: 'undefine', ...key },
      { action: 'change', parent: 'serial', MDEV_STATE: 'unregistered' },
    ]
    const events = [{ action: 'snapshot' as const, parents, mdevs, faults }, ...happened]
    return events.map(eventText).join('')
  },
}

for (const [name, made] of Object.entries(GOLDEN)) {
  test(`test/cli/golden/${name}`, () => {
    assert.equal(made(), readFileSync(join(PROJECT, 'test/cli/golden', name), 'utf8'))
  })
}

describe('table()', () => {
  test('is as wide as its widest cell, colours not counted, and has no blanks at line ends', () => {
    const paint = (text: string) => `<${text}>`
    assert.equal(
      table(
        ['A', 'LONG', 'C'],
        [
          ['aaa', { text: 'b', paint }, ''],
          ['a', 'bbbbbb', 'c'],
        ],
      ),
      'A    LONG    C\naaa  <b>       -\na    bbbbbb  c\n',
    )
  })

  test('lets no name tell the terminal what to do', () => {
    assert.equal(table(['A'], [['\u001b[2Jx\ny\u009b']]), 'A\n?[2Jx?y?\n')
  })
})

describe('paintsFor()', () => {
  const painted = (isTTY: boolean, environment: NodeJS.ProcessEnv) =>
    paintsFor({ isTTY }, environment).bad('x') !== 'x'

  test('paints on a terminal, unless NO_COLOR has a value or the terminal is dumb', () => {
    assert.ok(painted(true, { TERM: 'xterm' }))
    assert.ok(painted(true, { TERM: 'xterm', NO_COLOR: '' }))
    for (const environment of [{ NO_COLOR: '1' }, { NO_COLOR: '0' }, { TERM: 'dumb' }])
      assert.ok(!painted(true, environment))
    assert.ok(!painted(false, { TERM: 'xterm' }))
  })
})
