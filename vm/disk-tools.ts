/** Programs for guests with disks, of Debian: mkfs.ext4 and fsck.ext4, nvme, fio. They come as files for the guest. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { debianRoot, type PrepareOptions, type RootRecipe } from './debian-root.ts'
import type { GuestFile } from './initramfs.ts'
import { libraries } from './libraries.ts'

const SUITE = 'trixie'

/** Where each is in the guest. */
const PROGRAMS = {
  mke2fs: 'usr/sbin/mke2fs',
  e2fsck: 'usr/sbin/e2fsck',
  nvme: 'usr/sbin/nvme',
  fio: 'usr/bin/fio',
} as const

/** fio is built with what it never uses here. */
const CEPH = 'usr/lib/x86_64-linux-gnu/ceph'

export type DiskTool = keyof typeof PROGRAMS

interface DiskToolsRoot {
  /** What each program needs, itself among it; relative to the root. */
  readonly files: Readonly<Record<DiskTool, readonly string[]>>
}

const diskTools: RootRecipe<DiskToolsRoot> = {
  name: 'debian-disk-tools-1',
  title: 'disk tools',
  async choose(apt) {
    await apt.update([SUITE])
    return [{ suite: SUITE, packages: ['e2fsprogs', 'nvme-cli', 'fio'], dependencies: true }]
  },
  async finish(root, signal) {
    const files: Record<string, readonly string[]> = {}
    for (const [name, path] of Object.entries(PROGRAMS))
      files[name] = [path, ...(await libraries(root, path, signal, [CEPH]))]
    return { files: files as DiskToolsRoot['files'] }
  },
}

/** Some of the programs, prepared if need be. They are in `/usr/sbin`, fio in `/usr/bin`; BusyBox has others of these names. */
export async function diskToolFiles(
  tools: readonly DiskTool[],
  options: PrepareOptions = {},
): Promise<GuestFile[]> {
  const { path, about } = await debianRoot(cacheDirectory(), diskTools, options)
  const names = new Set(tools.flatMap((tool) => about.files[tool]))
  return Promise.all(
    [...names].map(async (name) => ({
      path: `/${name}`,
      mode: 0o755,
      content: await readFile(join(path, name)),
    })),
  )
}
