/** `mdevkit attach`: what it prints is pasted, as it stands, and a machine has the mdev. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { ControlClient } from '../../src/host/control-client.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { shellLine } from '../../src/lib/shell-line.ts'
import { cacheDirectory } from '../../vm/cache.ts'
import { debianRoot } from '../../vm/debian-root.ts'
import { buildInitramfs } from '../../vm/initramfs.ts'
import { libvirtRoot } from '../../vm/libvirt-root.ts'
import { Libvirt } from '../../vm/libvirt.ts'
import { type VmAssets, prepareVm } from '../../vm/prepare.ts'
import { cli } from '../cli/cli.ts'
import { Mdevkit } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'

const UUIDS = ['00000001-0000-4000-8000-000000000001', '00000002-0000-4000-8000-000000000002']
const PROGRESS = { onProgress: (line: string) => void process.stderr.write(`${line}\n`) }

const scratch = new Scratch()
const root = join(scratch.path, 'root')
let host: Mdevkit
let control: ControlClient
let assets: VmAssets

before(async () => {
  assets = await prepareVm(PROGRESS)
  host = await Mdevkit.start(['host', 'mtty'], { root })
  const [line] = await host.stdout.waitFor(/^.*\n/)
  control = await ControlClient.connect((JSON.parse(line) as { control: string }).control)
  for (const uuid of UUIDS) await control.create('mtty-2', uuid, [['ports', 'loopback']])
})
after(async () => {
  control?.close()
  await host?.stop()
  scratch[Symbol.dispose]()
})

/** What `mdevkit attach ARGS` prints. */
async function attachTo(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cli(['attach', ...args], { root })
  assert.deepEqual([code, stderr], [0, ''])
  return stdout
}

/** A directory for PATH, where `qemu-system-x86_64` is the QEMU that was found. */
function pathWithQemu(): string {
  const { argv, env } = assets.qemu
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const bin = join(scratch.path, 'bin')
  mkdirSync(bin)
  const program = join(bin, 'qemu-system-x86_64')
  writeFileSync(program, `#!/bin/sh\nexec env ${shellLine([...settings, ...argv])} "$@"\n`)
  chmodSync(program, 0o755)
  return bin
}

test('the line for QEMU boots a guest that finds both mdevs', async () => {
  const init =
    'for d in 1 2; do lspci -n | grep -c 4348:3253; done; grep -c 16550A /proc/tty/driver/serial'
  const initrd = join(scratch.path, 'initrd')
  writeFileSync(initrd, await buildInitramfs({ assets, init }))
  const line = (await attachTo('--memory', '256M', ...UUIDS)).trim()
  // the guest, and what keeps its console off this terminal; of the machine and its devices nothing
  const guest = ['-kernel', assets.kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet']
  const rest = ['-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-cpu', 'max']
  const qemu = spawn('sh', ['-c', `exec ${line} ${shellLine([...guest, ...rest])}`], {
    env: { ...process.env, PATH: `${pathWithQemu()}:${process.env['PATH']}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  try {
    let said = ''
    for (const stream of [qemu.stdout, qemu.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => void (said += text))
    await once(qemu, 'close') // the guest powers off
    assert.match(said, /^2\r?\n2\r?\n5\r?$/m, said) // two cards, and two ports each besides the console
  } finally {
    qemu.kill('SIGKILL')
  }
  // memory was shared: else the host says that the device is slow
  assert.doesNotMatch(host.stderr.text, /warn|error/)
})

test('the domain for libvirt is valid, and gives its QEMU the mdev and memory that is shared', async () => {
  const { path } = await debianRoot(cacheDirectory(), libvirtRoot, PROGRESS)
  const directory = join(scratch.path, 'libvirt')
  mkdirSync(directory)
  const domain = await attachTo('--vmm', 'libvirt', '--memory', '256M', UUIDS[0]!)
  const file = join(scratch.path, 'domain.xml')
  // there is no KVM in the namespaces of this libvirt
  writeFileSync(file, domain.replace("type='kvm'", "type='qemu'"))
  await using libvirt = await Libvirt.start({
    root: path,
    scratch: directory,
    visible: [scratch.path],
  })
  await libvirt.virsh('define', '--validate', file)
  const native = await libvirt.virsh(
    'domxml-to-native',
    'qemu-argv',
    '--domain',
    `mdevkit-${UUIDS[0]}`,
  )
  const socket = control.parent.mdevs.find(({ uuid }) => uuid === UUIDS[0])?.socket ?? ''
  assert.ok(native.includes(`-device '${vfioUserDevice(socket)}'`), native)
  assert.match(native, /"qom-type":"memory-backend-memfd","id":"pc\.ram","share":true/)
  assert.match(native, /-machine \S+,memory-backend=pc\.ram/)
})
