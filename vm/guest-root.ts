/** The root that guests are made from: Debian's kernel with its modules, BusyBox, and lspci. */
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ErrnoError } from '../src/lib/errno.ts'
import type { RootRecipe } from './debian-root.ts'
import { execute } from './execute.ts'
import { zstdPayload } from './kernel-image.ts'
import { libraries } from './libraries.ts'
import { preparedProgram } from './prepared-program.ts'

const SUITE = 'trixie'

/** All paths are relative to the root. */
export interface GuestRoot {
  readonly release: string
  /** As QEMU boots it fastest. */
  readonly kernel: string
  /** The same as packaged, for firmware and boot loaders. */
  readonly kernelImage: string
  readonly modulesDir: string
  /** What BusyBox can be called as. */
  readonly applets: readonly string[]
  /** lspci, its libraries and their dynamic linker. */
  readonly lspci: readonly string[]
}

export const guestRoot: RootRecipe<GuestRoot> = {
  name: 'debian-guest-2',
  title: 'guest kernel and BusyBox',
  async choose(apt) {
    await apt.update([SUITE])
    const kernel = await apt.dependency('linux-image-amd64', SUITE)
    return [
      { suite: SUITE, packages: [kernel], dependencies: false }, // they would install it, we only boot it
      {
        suite: SUITE,
        packages: ['busybox-static', 'pciutils', 'kmod', 'zstd'],
        dependencies: true,
      },
    ]
  },
  async finish(root, signal) {
    const release = (await readdir(join(root, 'usr/lib/modules')))[0]
    if (release === undefined) throw new ErrnoError('ENOENT', `${root}: the kernel has no modules`)
    const [depmod, ...args] = preparedProgram(root, 'usr/sbin/depmod')
    await execute(depmod, [...args, '-b', root, '-m', '/usr/lib/modules', release], { signal })
    const applets = await execute(join(root, 'usr/bin/busybox'), ['--list'], { signal })
    const kernelImage = join('boot', `vmlinuz-${release}`)
    return {
      release,
      kernel: await unpackKernel(root, kernelImage, signal),
      kernelImage,
      modulesDir: join('usr/lib/modules', release),
      applets: applets.toString().trim().split('\n'),
      lspci: ['usr/bin/lspci', ...(await libraries(root, 'usr/bin/lspci', signal))],
    }
  },
}

/** The kernel that boots fastest: the ELF inside, else the image as packaged. */
async function unpackKernel(
  root: string,
  image: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const input = zstdPayload(await readFile(join(root, image)))
  if (input === undefined) return image
  const [zstd, ...args] = preparedProgram(root, 'usr/bin/zstd')
  const elf = await execute(zstd, [...args, '-d', '-c', '-q'], { input, signal })
  await writeFile(join(root, 'boot/vmlinux'), elf)
  return 'boot/vmlinux'
}
