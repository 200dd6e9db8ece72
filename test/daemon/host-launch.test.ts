/** How hosts are started: the command for each kind of machine, and what it does on this one. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { cgroupBase } from '../../src/daemon/cgroup.ts'
import { launchOf, type LaunchMeans } from '../../src/daemon/host-launch.ts'
import { Scratch } from '../support/scratch.ts'

const HERE = process.env['PATH'] ?? ''
const isRoot = process.geteuid?.() === 0
const PLAIN: LaunchMeans = { isRoot, hasSystemd: false, cgroups: undefined, path: HERE }

/** What the kernel says of a process that was started so. */
function statusOf(command: readonly string[]): Map<string, string> {
  const [program = '', ...args] = command
  const text = execFileSync(program, args, { encoding: 'utf8' })
  return new Map(
    text
      .trim()
      .split('\n')
      .map((line) => {
        const [key = '', value = ''] = line.split(':')
        return [key, value.trim().replaceAll(/\s+/g, ' ')] as const
      }),
  )
}

const STATUS = ['/bin/cat', '/proc/self/status']

/** A directory as a cgroup file system has it. */
function cgroups(scratch: Scratch, controllers: string): string {
  scratch.write('cgroup/cgroup.controllers', `${controllers}\n`)
  mkdirSync(join(scratch.path, 'cgroup/mdevkit/card'), { recursive: true })
  return join(scratch.path, 'cgroup')
}

/** A program that shows its arguments up to `--`, one a line, and becomes what follows. */
function fakeProgram(scratch: Scratch, name: string): string {
  const file = scratch.write(
    `bin/${name}`,
    '#!/bin/sh\nwhile [ "$1" != -- ]; do echo "$1"; shift; done\nshift\nexec "$@"\n',
  )
  chmodSync(file, 0o755)
  return dirname(file)
}

describe('launchOf() takes privileges away', () => {
  test('all but three of root, and for good', { skip: !isRoot && 'only root has any' }, () => {
    const { command, warnings } = launchOf('card', STATUS, {}, PLAIN)
    const status = statusOf(command)
    // CAP_DAC_OVERRIDE 1, CAP_IPC_LOCK 14, CAP_SYS_PTRACE 19 (capability.h)
    const kept = ((1n << 1n) | (1n << 14n) | (1n << 19n)).toString(16).padStart(16, '0')
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      assert.equal(status.get(set), kept, set)
    assert.equal(status.get('NoNewPrivs'), '1')
    assert.deepEqual(warnings, [])
  })

  test(
    'and becomes a user, with the capabilities configured',
    { skip: !isRoot && 'only root can' },
    () => {
      const config = { user: 'nobody', capabilities: ['CAP_NET_ADMIN'] }
      const status = statusOf(launchOf('card', STATUS, config, PLAIN).command)
      const kept = (1n << 12n).toString(16).padStart(16, '0')
      assert.equal(status.get('Uid'), '65534 65534 65534 65534')
      assert.equal(status.get('Gid'), '65534 65534 65534 65534')
      assert.equal(status.get('Groups'), '')
      for (const set of ['CapPrm', 'CapEff', 'CapBnd']) assert.equal(status.get(set), kept, set)
      const none = statusOf(launchOf('card', STATUS, { user: 'nobody' }, PLAIN).command)
      for (const set of ['CapPrm', 'CapBnd']) assert.equal(none.get(set), '0'.repeat(16), set)
    },
  )

  test('of a user who is not root as far as there are any, and says what cannot be', () => {
    const { command, warnings } = launchOf(
      'card',
      STATUS,
      { user: 'nobody' },
      { ...PLAIN, isRoot: false },
    )
    assert.equal(statusOf(command).get('NoNewPrivs'), '1')
    assert.deepEqual(warnings, [
      'user, group and capabilities: only a daemon of root can give them',
    ])
  })

  test('or says that it cannot', () => {
    const means = { ...PLAIN, path: '/nonexistent' }
    const { command, warnings } = launchOf('card', STATUS, {}, means)
    assert.deepEqual(command, STATUS)
    assert.match(warnings.join(), /privileges are not taken away: setpriv is not there/)
  })

  for (const [config, message] of [
    [{ user: 'no such user' }, /user no such user: not known here/],
    [{ user: 'nobody', group: 'no such group' }, /group no such group: not known here/],
    [{ group: 'nogroup' }, /group: needs a user too/],
  ] as const) {
    test(`refuses ${JSON.stringify(config)} with EINVAL`, () => {
      assert.throws(() => launchOf('card', STATUS, config, PLAIN), { code: 'EINVAL', message })
    })
  }
})

describe('launchOf() sets limits', () => {
  const config = { cpu: 50, memory: 512 * 1024 * 1024 }

  test('by systemd where it is the init', () => {
    using scratch = new Scratch()
    const path = `${fakeProgram(scratch, 'systemd-run')}:${HERE}`
    for (const root of [true, false]) {
      const means = { ...PLAIN, isRoot: root, hasSystemd: true, path }
      const { command, warnings } = launchOf('card', ['/bin/true'], config, means)
      const at = command.indexOf('--')
      assert.deepEqual(command.slice(1, at), [
        '--scope',
        '--collect',
        '--quiet',
        ...(root ? [] : ['--user']),
        '--property=CPUQuota=50%',
        '--property=MemoryMax=536870912',
      ])
      assert.match(command[at + 1] ?? '', /setpriv$/) // privileges go last: systemd-run needs them
      assert.deepEqual(warnings, [])
    }
  })

  test('by cgroup v2 else: the process is in it before it does anything', () => {
    using scratch = new Scratch()
    const base = cgroups(scratch, 'cpuset cpu io memory pids')
    const { command, warnings } = launchOf('card', ['/bin/true'], config, {
      ...PLAIN,
      cgroups: base,
    })
    assert.deepEqual(warnings, [])
    const read = (name: string) => readFileSync(join(base, name), 'utf8')
    assert.equal(read('cgroup.subtree_control'), '+cpu +memory')
    assert.equal(read('mdevkit/cgroup.subtree_control'), '+cpu +memory')
    assert.equal(read('mdevkit/card/cpu.max'), '50000 100000')
    assert.equal(read('mdevkit/card/memory.max'), '536870912')
    const [program = '', ...args] = command
    const pid = execFileSync(program, [...args.slice(0, 4), '/bin/sh', '-c', 'echo $$'], {
      encoding: 'utf8',
    })
    assert.equal(read('mdevkit/card/cgroup.procs'), pid)
  })

  test('or says why not, and starts the host all the same', () => {
    using scratch = new Scratch()
    const base = cgroups(scratch, 'hugetlb')
    for (const [means, why] of [
      [PLAIN, /^cpu and memory: not limited: .*neither systemd nor a cgroup v2/],
      [
        { ...PLAIN, cgroups: base },
        /^cpu and memory: not limited: .*no cpu and no memory controller/,
      ],
      [{ ...PLAIN, cgroups: '/nonexistent' }, /^cpu and memory: not limited: ENOENT/],
    ] as const) {
      const { command, warnings } = launchOf('card', ['/bin/true'], config, means)
      assert.match(warnings.join('\n'), why)
      execFileSync(command[0] ?? '', command.slice(1))
    }
  })
})

test('cgroupBase() finds where cgroup v2 is mounted, also beside version 1', () => {
  const mounts = [
    '30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory',
    '31 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw',
  ]
  assert.equal(cgroupBase(mounts.join('\n')), '/sys/fs/cgroup/unified')
  assert.equal(cgroupBase(mounts[0]), undefined)
})
