/** A root with UEFI firmware, a boot loader for it, and what makes a disk that it boots from. */
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { debianRoot, type PrepareOptions, type RootRecipe } from './debian-root.ts'
import { execute } from './execute.ts'
import { preparedProgram } from './prepared-program.ts'

const SUITE = 'trixie'

/** OVMF, with its variables in memory. For `-bios`. */
const FIRMWARE = 'usr/share/ovmf/OVMF.fd'
const MODULES = 'usr/lib/grub/x86_64-efi'
/** It reads `grub.cfg`, and modules, in `EFI/debian` of the file system that it is started from. */
const GRUB = join(MODULES, 'monolithic/grubx64.efi')

const uefiRoot: RootRecipe<Record<string, never>> = {
  name: 'debian-uefi-1',
  title: 'UEFI firmware and GRUB',
  async choose(apt) {
    await apt.update([SUITE])
    return [
      { suite: SUITE, packages: ['gdisk', 'mtools'], dependencies: true },
      {
        suite: SUITE,
        packages: ['ovmf', 'grub-efi-amd64-bin', 'grub-efi-amd64-unsigned'],
        dependencies: false, // they would install it, we only boot it
      },
    ]
  },
  async finish(root, signal) {
    const [mtools, ...args] = preparedProgram(root, 'usr/bin/mtools')
    await execute(mtools, [...args, '--version'], { signal })
    return {}
  },
}

/** A file for the disk, by the path that it is to have there. */
export type DiskFile = readonly [path: string, source: string]

export interface Uefi {
  readonly firmware: string
  /** As EFI application. */
  readonly grub: string
  /** GRUB's modules, each a file `<name>.mod`. */
  readonly grubModules: string
  /**
   * Partitions a disk by GPT, with one EFI system partition, which has these files.
   *
   * @param image as large as the disk is to be
   */
  makeDisk(image: string, files: readonly DiskFile[]): Promise<void>
  /** What a file of that partition contains. */
  readFile(image: string, path: string): Promise<Buffer>
}

/** First sector of the partition, and where that is in bytes. */
const START = 2048
const OFFSET = START * 512
/** As sgdisk has it. */
const EFI_SYSTEM_PARTITION = 'ef00'

/** Prepared if need be. */
export async function prepareUefi(options: PrepareOptions = {}): Promise<Uefi> {
  const { path: root } = await debianRoot(cacheDirectory(), uefiRoot, options)
  const run = async (program: string, ...args: readonly string[]) => {
    const [linker, ...first] = preparedProgram(root, program)
    // mtools are to take the partition for what it is, whatever their configuration says
    return execute(linker, [...first, ...args], { env: { MTOOLS_SKIP_CHECK: '1' } })
  }
  const partition = (image: string) => ['-i', `${image}@@${OFFSET}`]
  return {
    firmware: join(root, FIRMWARE),
    grub: join(root, GRUB),
    grubModules: join(root, MODULES),
    async makeDisk(image, files) {
      await run('usr/sbin/sgdisk', '-n', `1:${START}:0`, '-t', `1:${EFI_SYSTEM_PARTITION}`, image)
      await run('usr/bin/mformat', ...partition(image), '-F', '::')
      const folders = new Set(files.flatMap(([path]) => parents(path)))
      for (const folder of folders) await run('usr/bin/mmd', ...partition(image), `::${folder}`)
      for (const [path, source] of files)
        await run('usr/bin/mcopy', ...partition(image), source, `::${path}`)
    },
    readFile: async (image, path) => run('usr/bin/mtype', ...partition(image), `::${path}`),
  }
}

/** `/a`, `/a/b` for `/a/b/c`. */
function parents(path: string): string[] {
  const names = path.split('/').slice(1, -1)
  return names.map((_, index) => `/${names.slice(0, index + 1).join('/')}`)
}
