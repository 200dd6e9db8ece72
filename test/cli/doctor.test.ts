/** `mdevkit doctor` on machines that lack this and that: programs of PATH are scripts here. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { Api } from '../http/support.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { AS_USER } from '../support/ordinary-user.ts'
import { Scratch } from '../support/scratch.ts'
import { cli } from './cli.ts'

interface Found {
  readonly name: string
  readonly state: string
  readonly what: string
  readonly remedy?: string
}

const QEMU = (version: string, device = 'vfio-user-pci') => `#!/bin/sh
if [ "$1" = --version ]; then echo 'QEMU emulator version ${version} (Debian)'
else echo 'name "${device}", bus PCI'; fi
`

/** A PATH with these programs alone. */
class Machine implements Disposable {
  readonly scratch = new Scratch()
  readonly bin = join(this.scratch.path, 'bin')

  constructor(programs: Readonly<Record<string, string>> = {}) {
    mkdirSync(this.bin)
    for (const [name, text] of Object.entries(programs))
      chmodSync(this.scratch.write(`bin/${name}`, text), 0o755)
  }

  async doctor(root = join(this.scratch.path, 'root')) {
    const { code, stdout, stderr } = await cli(['doctor', '-o', 'json'], {
      root,
      env: { PATH: this.bin },
    })
    assert.equal(stderr, '')
    const found = JSON.parse(stdout) as readonly Found[]
    return { code, of: (name: string) => found.find((each) => each.name === name) }
  }

  [Symbol.dispose](): void {
    this.scratch[Symbol.dispose]()
  }
}

/** What `mdevkit` prints for nobody, who finds no programs. */
async function asOrdinaryUser(root: string): Promise<readonly Found[]> {
  const [program = '', ...words] = AS_USER
  const environment = ['PATH=/nowhere', `MDEVKIT_ROOT=${root}`, 'HOME=/nonexistent']
  const mdevkit = [process.execPath, join(PROJECT, 'bin/mdevkit.js'), 'doctor', '-o', 'json']
  const child = spawn(program, [...words, 'env', ...environment, ...mdevkit])
  return JSON.parse(await text(child.stdout)) as readonly Found[]
}

describe('doctor', () => {
  test('finds QEMU and Cloud Hypervisor that will do', async () => {
    using machine = new Machine({
      'qemu-system-x86_64': QEMU('10.1.0'),
      'cloud-hypervisor': '#!/bin/sh\necho cloud-hypervisor v48.0.0\n',
    })
    const { code, of } = await machine.doctor()
    const { bin } = machine
    assert.deepEqual(of('qemu'), {
      name: 'qemu',
      state: 'ok',
      what: `${bin}/qemu-system-x86_64 10.1.0`,
    })
    assert.equal(of('cloud-hypervisor')?.what, `${bin}/cloud-hypervisor, cloud-hypervisor v48.0.0`)
    assert.deepEqual([of('node')?.state, of('ffi')?.state, of('root')?.state], ['ok', 'ok', 'ok'])
    assert.equal(code, 0)
  })

  for (const [title, program, says] of [
    ['is too old', QEMU('9.2.4'), / 9\.2\.4; 10\.1 or later with vfio-user-pci is wanted$/],
    ['lacks the device', QEMU('11.0.0', 'vfio-pci'), / 11\.0\.0 was built without vfio-user-pci$/],
    ['is no QEMU', '#!/bin/sh\necho hello\n', / of no version; 10\.1 or later/],
    ['does not run', '#!/nonexistent\n', /ENOENT/],
    ['fails', '#!/bin/sh\nexit 3\n', /Command failed/],
  ] as const) {
    test(`warns of a QEMU that ${title}, with a remedy`, async () => {
      using machine = new Machine({ 'qemu-system-x86_64': program })
      const { code, of } = await machine.doctor()
      assert.equal(of('qemu')?.state, 'warn')
      assert.match(of('qemu')?.what ?? '', says)
      assert.match(of('qemu')?.remedy ?? '', /^apt-get install .*qemu-system-x86 # Debian 13/)
      assert.equal(code, 0)
    })
  }

  test('tells mdevkit by the name of mdevctl from mdevctl itself', async () => {
    using machine = new Machine()
    assert.match((await machine.doctor()).of('mdevctl')?.what ?? '', /^not there/)
    symlinkSync(join(PROJECT, 'bin/mdevkit.js'), join(machine.bin, 'mdevctl'))
    assert.match((await machine.doctor()).of('mdevctl')?.what ?? '', /mdevctl is mdevkit$/)
    using other = new Machine({ mdevctl: '#!/bin/sh\n' })
    const found = (await other.doctor()).of('mdevctl')
    assert.equal(found?.state, 'warn')
    assert.match(found?.what ?? '', /is another program/)
    assert.match(found?.remedy ?? '', /^alias mdevctl=mdevkit # or: MDEVCTL_ENV_ROOT=\S+ mdevctl$/)
  })

  test('ends with 1 where the root cannot be used, and says why', async () => {
    using machine = new Machine()
    const file = machine.scratch.write('file', '')
    const open = join(machine.scratch.path, 'open')
    mkdirSync(open)
    chmodSync(open, 0o777)
    for (const [root, says] of [
      [file, /file is no directory$/],
      [join(file, 'below'), /file is no directory$/],
      [open, /open may be written to by others$/],
      [join(machine.scratch.path, 'd'.repeat(90)), /is so deep that sockets in it/],
    ] as const) {
      const { code, of } = await machine.doctor(root)
      assert.match(of('root')?.what ?? '', says)
      assert.equal(of('root')?.state, 'missing')
      assert.notEqual(of('root')?.remedy, undefined)
      assert.equal(code, 1)
    }
  })

  test('takes a root below a link, and none that is one', async () => {
    using machine = new Machine()
    const { path } = machine.scratch
    mkdirSync(join(path, 'real'))
    symlinkSync(join(path, 'real'), join(path, 'link'))
    symlinkSync(join(path, 'nowhere'), join(path, 'dangling'))
    const below = await machine.doctor(join(path, 'link/root'))
    assert.deepEqual(
      [below.code, below.of('root')?.what],
      [0, `${path}/link/root, to be made in ${path}/link`],
    )
    for (const name of ['link', 'dangling']) {
      const { code, of } = await machine.doctor(join(path, name))
      assert.deepEqual([code, of('root')?.what], [1, `${path}/${name} is no directory`])
    }
  })

  test('shows the others where one thing cannot be looked at', async () => {
    using machine = new Machine()
    const loop = join(machine.scratch.path, 'loop')
    symlinkSync(loop, loop)
    const { code, of } = await machine.doctor(join(loop, 'root'))
    assert.match(of('root')?.what ?? '', /^cannot be looked at: ELOOP/)
    assert.deepEqual([code, of('root')?.state, of('node')?.state], [0, 'warn', 'ok'])
  })

  test('needs fusermount3 for others than root alone, and takes a root whose daemon lets one in', async () => {
    await using api = await Api.start()
    using machine = new Machine()
    const root = dirname(api.socketPath)
    assert.equal((await machine.doctor(root)).of('fuse')?.what, '/dev/fuse')
    chmodSync(root, 0o711)
    chmodSync(api.socketPath, 0o666)
    const found = await asOrdinaryUser(root)
    const of = (name: string) => found.find((each) => each.name === name)
    assert.match(of('root')?.what ?? '', /^\/.* belongs to user 0, whose daemon lets us in$/)
    assert.match(of('fuse')?.what ?? '', /^(?:no fusermount3|\/dev\/fuse cannot be used): the tree/)
    chmodSync(api.socketPath, 0o600)
    const denied = await asOrdinaryUser(root)
    const daemon = denied.find((each) => each.name === 'daemon')
    assert.match(daemon?.what ?? '', /^EACCES/)
    assert.match(daemon?.remedy ?? '', /^sudo mdevkit doctor/)
    assert.equal(denied.find((each) => each.name === 'root')?.state, 'missing')
  })

  test('finds the daemon, and one of another version', async () => {
    await using api = await Api.start() // which says that it is 1.2.3
    using machine = new Machine()
    const root = dirname(api.socketPath)
    const found = (await machine.doctor(root)).of('daemon')
    assert.equal(found?.state, 'warn')
    assert.match(found?.what ?? '', /^1\.2\.3 answers, pid \d+, and this is mdevkit \d/)
    assert.match(
      (await machine.doctor()).of('daemon')?.what ?? '',
      /no daemon answers; start it with: mdevkit daemon$/,
    )
  })

  test('prints a table, and remedies below it', async () => {
    using machine = new Machine()
    const root = join(machine.scratch.path, 'root')
    const { stdout } = await cli(['doctor'], { root, env: { PATH: machine.bin } })
    assert.match(stdout, /^CHECK +STATE +FOUND\nnode +ok +Node \d/)
    assert.match(stdout, /\n\nRemedies:\n(.*\n)* {2}qemu +apt-get install /)
    assert.ok(!stdout.includes('\u001b'))
  })
})
