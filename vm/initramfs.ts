/** The guest's root file system, built in memory: BusyBox, lspci, the modules asked for, and an /init around a script. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CpioWriter } from './cpio.ts'
import { type Module, loadIndexes, loadModules } from './modules.ts'
import type { VmAssets } from './prepare.ts'

/** A file of the caller's for the guest. */
export interface GuestFile {
  /** Absolute, in the guest. */
  readonly path: string
  readonly mode: number
  readonly content: Uint8Array | string
}

export interface InitramfsOptions {
  readonly assets: VmAssets
  /**
   * The body of a shell script, run as root on the console once proc, sysfs and devtmpfs are mounted and the modules
   * are loaded. When it ends the guest powers off.
   */
  readonly init: string
  /** Kernel modules to load, in this order, parameters after the name: `'nvme'`, `'dummy numdummies=2'`. */
  readonly modules?: readonly string[] | undefined
  readonly files?: readonly GuestFile[] | undefined
  /** Whether the indexes of all modules are there, for `lspci -k`; by default they are not. */
  readonly moduleIndexes?: boolean | undefined
}

/** @throws ENOENT the kernel has no such module */
export async function buildInitramfs(options: InitramfsOptions): Promise<Buffer> {
  const { root, modulesDir, guestRoot } = options.assets
  const wanted = (options.modules ?? []).map((line) => line.split(' '))
  const busybox = join(root, 'usr/bin/busybox')
  const modules = await loadModules(
    modulesDir,
    busybox,
    wanted.map(([name]) => name!),
  )
  const parameters = new Map(
    wanted.map(([name, ...rest]) => [name!.replaceAll('-', '_'), rest.join(' ')]),
  )
  const cpio = new CpioWriter()
  // the caller's files come first: what is there already is not replaced
  for (const { path, mode, content } of options.files ?? []) cpio.file(path, mode, content)
  for (const path of ['/proc', '/sys', '/dev', '/root', '/run']) cpio.directory(path)
  cpio.directory('/tmp', 0o1777)
  // the kernel opens it as the standard files of /init, before devtmpfs is mounted
  cpio.characterDevice('/dev/console', 0o600, 5, 1)
  cpio.file('/bin/busybox', 0o755, await readFile(busybox))
  for (const applet of guestRoot.applets) cpio.symlink(`/bin/${applet}`, 'busybox')
  for (const path of guestRoot.lspci) cpio.file(`/${path}`, 0o755, await readFile(join(root, path)))
  cpio.symlink('/lib', 'usr/lib')
  cpio.symlink('/lib64', 'usr/lib/x86_64-linux-gnu') // where programs look for their dynamic linker
  const directory = `/usr/lib/modules/${guestRoot.release}`
  cpio.file(`${directory}/modules.dep`, 0o644, modulesDep(modules))
  for (const { path, content } of modules) cpio.file(`${directory}/${path}`, 0o644, content)
  if (options.moduleIndexes === true) {
    for (const { name, content } of await loadIndexes(modulesDir)) {
      cpio.file(`${directory}/${name}`, 0o644, content)
    }
  }
  cpio.file('/init', 0o755, script(directory, modules, parameters, options.init))
  return cpio.finish()
}

/** So that modprobe in the guest finds what is there. */
function modulesDep(modules: readonly Module[]): string {
  return modules.map(({ path, needs }) => `${path}: ${needs.join(' ')}\n`).join('')
}

function script(
  directory: string,
  modules: readonly Module[],
  parameters: ReadonlyMap<string, string>,
  init: string,
): string {
  const insmods = modules.map(
    ({ name, path }) => `insmod ${directory}/${path} ${parameters.get(name) ?? ''}`,
  )
  return `#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
${insmods.join('\n')}
${init}
poweroff -f
`
}
