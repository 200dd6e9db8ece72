/** Everything that a guest needs, found or prepared: QEMU, kernel, modules, and the root that the rest comes from. */
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { type PrepareOptions, debianRoot } from './debian-root.ts'
import { type GuestRoot, guestRoot } from './guest-root.ts'
import { type Qemu, findQemu } from './qemu.ts'

export interface VmAssets {
  readonly qemu: Qemu
  /** What to hand to `-kernel`. */
  readonly kernel: string
  /** The same kernel for firmware and boot loaders. */
  readonly kernelImage: string
  /** `<root>/usr/lib/modules/<release>`, modules compressed with xz. */
  readonly modulesDir: string
  /** The prepared root that BusyBox and lspci are in. */
  readonly root: string
  readonly guestRoot: GuestRoot
}

/** What was prepared in this process, by cache directory. */
const prepared = new Map<string, VmAssets>()

/**
 * Prepares what guests need, once for all: the first time downloads some 150 MB, later calls return at once.
 *
 * @throws ENOENT, ENOTSUP something is missing that cannot be prepared here; the message says what to do
 */
export async function prepareVm(options: PrepareOptions = {}): Promise<VmAssets> {
  const cache = cacheDirectory()
  const known = prepared.get(cache)
  if (known) return known
  const qemu = await findQemu(cache, options)
  const guest = await debianRoot(cache, guestRoot, options)
  const assets: VmAssets = {
    qemu,
    kernel: join(guest.path, guest.about.kernel),
    kernelImage: join(guest.path, guest.about.kernelImage),
    modulesDir: join(guest.path, guest.about.modulesDir),
    root: guest.path,
    guestRoot: guest.about,
  }
  prepared.set(cache, assets)
  return assets
}
