/** The tree of the daemon's machine, mounted at `<root>/sys`, with what mdevctl looks for beside it. */
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FuseMount } from '../fuse/fuse-mount.ts'
import { describeError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { SysfsTree } from '../sysfs/sysfs-tree.ts'
import type { Hosts } from './hosts.ts'
import type { Machine } from './machine.ts'
import { SysfsHosts } from './sysfs-hosts.ts'

export interface SysfsMountOptions {
  readonly root: string
  readonly hosts: Hosts
  readonly machine: Machine
  /** Where definitions are. */
  readonly definitions: string
  readonly log: Logger
}

/** Where the tree is mounted. */
export function sysfsPath(root: string): string {
  return join(root, 'sys')
}

export class SysfsMount {
  readonly #tree: SysfsTree
  readonly #mount: FuseMount

  private constructor(tree: SysfsTree, mount: FuseMount) {
    this.#tree = tree
    this.#mount = mount
  }

  /** @returns undefined where there is no FUSE, which is logged: all else works without */
  static async start({
    root,
    hosts,
    machine,
    definitions,
    log,
  }: SysfsMountOptions): Promise<SysfsMount | undefined> {
    const tree = new SysfsTree(new SysfsHosts(hosts, machine), log)
    try {
      const mount = await FuseMount.mount(tree, { path: sysfsPath(root), log: log.child('sysfs') })
      prepareForMdevctl(root, definitions, log)
      return new SysfsMount(tree, mount)
    } catch (error) {
      tree.close()
      log.warn(`sysfs: not mounted, all else works: ${describeError(error)}`)
      return undefined
    }
  }

  async close(): Promise<void> {
    await this.#mount.close()
    this.#tree.close()
  }
}

/** With `MDEVCTL_ENV_ROOT=<root>` mdevctl wants these to be there, and definitions where it looks for them. */
function prepareForMdevctl(root: string, definitions: string, log: Logger): void {
  try {
    for (const kind of ['callouts', 'notifiers'])
      mkdirSync(join(root, 'usr/lib/mdevctl/scripts.d', kind), { recursive: true })
    const usual = join(root, 'etc/mdevctl.d')
    if (existsSync(usual)) return
    mkdirSync(dirname(usual), { recursive: true })
    if (definitions === usual) mkdirSync(usual, { recursive: true })
    else symlinkSync(definitions, usual)
  } catch (error) {
    log.warn(`sysfs: MDEVCTL_ENV_ROOT=${root} will not do: ${describeError(error)}`)
  }
}
