/** The unmodified mdevctl of Debian on our mdevs: what it says is what it said of a kernel's. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { type Mdevctl, prepareMdevctl } from '../../vm/mdevctl.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { u } from './bench.ts'
import { MountedMachine, type Played } from './mounted-machine.ts'

const MDEVKIT = join(PROJECT, 'bin/mdevkit.js')

describe('mdevctl 1.4 with MDEVCTL_ENV_ROOT', () => {
  let mdevctl: Mdevctl
  before(async () => {
    mdevctl = await prepareMdevctl('1.4')
  })

  for (const chapter of ['types', 'list-nothing', 'start', 'list', 'define', 'modify']) {
    test(`says what the transcript says: ${chapter}`, async () => {
      await using machine = await MountedMachine.start()
      const golden = readFileSync(join(PROJECT, `test/cli/golden/mdevctl-${chapter}.txt`), 'utf8')
      let compared = 0
      for (const [command = '', ...expected] of commandsOf(golden)) {
        if (command.startsWith('json:')) continue // of our own player
        const said = linesOf(await played(machine, mdevctl, command))
        // what it says depends on the order in which a directory is read; what it starts does not
        if (command.startsWith('echo "{"')) continue
        if (expected[0]?.startsWith('error: ') === true) continue // of usage, in more lines than the transcript kept
        assert.deepEqual(said, expected, command)
        compared++
      }
      assert.ok(compared > 0)
    })
  }

  test('starts what is defined with its attributes, in their order, and by autostart', async () => {
    await using machine = await MountedMachine.start()
    const run = async (command: string) => linesOf(await played(machine, mdevctl, command))
    assert.deepEqual(await run('mdevctl define -u $(u 1) -p mprobe-a -t mprobe-one --auto'), [])
    for (const value of ['one', 'two'])
      assert.deepEqual(await run(`mdevctl modify -u $(u 1) --addattr assign --value ${value}`), [])
    assert.deepEqual(await run('mdevctl start -u $(u 1); cat $D/$(u 1)/assigned'), ['one two'])
    const active = `${u(1)} mprobe-a mprobe-one auto (defined)`
    assert.deepEqual(await run('mdevctl list; mdevctl stop -u $(u 1); mdevctl list'), [active])
    assert.deepEqual(await run('mdevctl start-parent-mdevs mprobe-a; mdevctl list'), [active])
    assert.deepEqual(await run('mdevctl stop -u $(u 1)'), [])
    await run('mdevctl modify -u $(u 1) --addattr assign --value bad')
    assert.deepEqual(await run('mdevctl start -u $(u 1)'), [
      'Error: Failed to write bad to attribute assign',
      'Caused by:',
      '    Invalid argument (os error 22)',
      '[exit status 1]',
    ])
    assert.deepEqual(await run('ls $D'), []) // it has taken it back
    assert.deepEqual(await run('mdevctl undefine -u $(u 1); mdevctl list -d'), [])
  })
})

test('mdevctl 1.2, which knows no other root, runs by mdevkit exec', async () => {
  const { argv } = await prepareMdevctl('1.2')
  await using machine = await MountedMachine.start()
  const definitions = join(machine.root, 'etc/mdevctl.d')
  // Its package makes these directories: here in a namespace of their own.
  const installed = `mount -t tmpfs etc /mnt; mkdir -p /mnt/upper/mdevctl.d/scripts.d/callouts /mnt/upper/mdevctl.d/scripts.d/notifiers /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work etc /etc; umount -l /mnt`
  const commands = `mdevctl() { RUST_BACKTRACE=0 ${argv.join(' ')} "$@"; }
mdevctl types -p mtty; mdevctl define -u ${u(1)} -p mtty -t mtty-1; mdevctl start -u ${u(1)}
mdevctl list; ls /sys/bus/mdev/devices; mdevctl stop -u ${u(1)}; mdevctl list -d`
  const { stdout, stderr } = await machine.play(
    `mkdir -p ${definitions}/scripts.d; unshare --mount sh -c '${installed}
export MDEVKIT_ROOT=${machine.root}; exec ${process.execPath} ${MDEVKIT} exec -- sh -c '"'"'${commands}'"'"`,
  )
  assert.equal(stderr, '')
  assert.deepEqual(
    stdout.split('\n').filter((line) => line !== ''),
    [
      'mtty',
      '  mtty-1',
      '    Available instances: 24',
      '    Device API: vfio-pci',
      '    Name: Single port serial',
      '  mtty-2',
      '    Available instances: 12',
      '    Device API: vfio-pci',
      '    Name: Dual port serial',
      `${u(1)} mtty mtty-1 manual (defined)`,
      u(1),
      `${u(1)} mtty mtty-1 manual`,
    ],
  )
  assert.equal((await machine.play(`ls ${definitions}/mtty`)).stdout, `${u(1)}\n`)
})

/** Each command, and the lines that follow it. */
function commandsOf(golden: string): readonly (readonly string[])[] {
  return golden
    .split(/^\$ /m)
    .slice(1)
    .map((text) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#')))
}

async function played(
  machine: MountedMachine,
  { argv }: Mdevctl,
  command: string,
): Promise<Played> {
  return machine.play(`
export MDEVCTL_ENV_ROOT=${machine.root} RUST_BACKTRACE=0
M=${machine.root}/etc/mdevctl.d
mdevctl() { ${argv.join(' ')} "$@"; }
lsmdev() { mdevctl list "$@"; }
${command}`)
}

/** As the golden files have it. */
function linesOf({ stdout, stderr, code }: Played): readonly string[] {
  const ended = stdout === '' || stdout.endsWith('\n') ? stdout : `${stdout}<no newline>\n`
  const shown = `${stderr}${ended}${code === 0 ? '' : `[exit status ${code}]\n`}`
  return shown
    .replaceAll(/^\[\S+Z WARN {2}(\S+)\]/gm, '[TIME WARN $1]')
    .split('\n')
    .filter((line) => line !== '')
}
