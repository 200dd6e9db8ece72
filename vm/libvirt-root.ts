/** A root with libvirt and a QEMU that it can start. libvirt looks for its parts by their places, so it runs there by chroot. */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RootRecipe } from './debian-root.ts'
import { execute } from './execute.ts'
import { preparedProgram } from './prepared-program.ts'

const SUITE = 'trixie'
/** Whose QEMU has vfio-user; libvirt's own suite has an older one, which is overwritten. */
const QEMU_SUITE = 'trixie-backports'

export interface LibvirtRoot {
  /** Of libvirt, such as 11.3.0. */
  readonly version: string
}

export const libvirtRoot: RootRecipe<LibvirtRoot> = {
  name: 'debian-libvirt-1',
  title: 'libvirt',
  async choose(apt) {
    await apt.update([SUITE, QEMU_SUITE])
    const packages = [
      'libvirt-daemon',
      'libvirt-daemon-driver-qemu',
      'libvirt-clients',
      'libvirt-common', // schemas
      'libxml2-utils', // xmllint
    ]
    return [
      { suite: SUITE, packages, dependencies: true },
      { suite: QEMU_SUITE, packages: ['qemu-system-x86'], dependencies: true },
    ]
  },
  async finish(root, signal) {
    for (const [path, text] of Object.entries(FILES)) await put(root, path, text)
    for (const path of EMPTY) await mkdir(join(root, path), { recursive: true })
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) await link(root, name, `usr/${name}`)
    await link(root, 'var/run', '/run')
    const [virsh, ...args] = preparedProgram(root, 'usr/bin/virsh')
    const version = await execute(virsh, [...args, '--version'], { signal })
    return { version: version.toString().trim() }
  },
}

/** What the packages' own scripts would have made, and a libvirt that confines nothing: it runs in a namespace of ours. */
const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nlibvirt-qemu:x:64055:994::/:/bin/false\n',
  'etc/group': 'root:x:0:\nkvm:x:994:\nlibvirt-qemu:x:64055:\nlibvirt:x:993:\n',
  'etc/libvirt/libvirtd.conf': 'auth_unix_rw = "none"\n',
  'etc/libvirt/qemu.conf': [
    'user = "root"',
    'group = "root"',
    'security_driver = "none"',
    'cgroup_controllers = []',
    'namespaces = []',
    'stdio_handler = "file"',
    '',
  ].join('\n'),
}

const EMPTY = ['proc', 'sys', 'dev', 'tmp', 'run', 'root', 'var/log/libvirt/qemu']

async function put(root: string, path: string, text: string): Promise<void> {
  const file = join(root, path)
  await mkdir(join(file, '..'), { recursive: true })
  await writeFile(file, text)
}

async function link(root: string, name: string, target: string): Promise<void> {
  await rm(join(root, name), { recursive: true, force: true })
  await symlink(target, join(root, name))
}
