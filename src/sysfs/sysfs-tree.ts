/**
 * The machine as the kernel's sysfs would show it: parents, types, mdevs, groups and drivers, kept up to date event by event.
 *
 * Not there, because nothing is behind it: `/class/vfio`, `/dev/vfio`, `/module`. docs/sysfs.md has all differences.
 */
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { Tree, TreeChange } from '../lib/tree.ts'
import { acceptor, AttributeFile, constantFile } from './attribute-file.ts'
import { Directory } from './directory.ts'
import { ParentNodes } from './parent-nodes.ts'
import { Places } from './places.ts'
import type { SysfsEvent, SysfsSource } from './source.ts'
import { UEVENT, writtenName } from './written.ts'

export class SysfsTree implements Tree, Disposable {
  readonly root: Directory
  readonly #log: Logger
  readonly #listeners = new Set<(change: TreeChange) => void>()
  readonly #places: Places
  readonly #parents = new Map<string, ParentNodes>()
  readonly #unsubscribe: () => void

  constructor(source: SysfsSource, log: Logger) {
    const tell = (change: TreeChange) => this.#tell(change)
    this.#log = log
    const places = new Places(tell, source)
    this.#places = places
    const directory = (entries: Readonly<Record<string, Directory>>) =>
      new Directory(tell, () => Object.entries(entries))
    this.root = directory({
      bus: directory({ mdev: busDirectory(places) }),
      class: places.classes,
      devices: directory({ virtual: places.virtual }),
      kernel: directory({ iommu_groups: places.groups.directory }),
    })
    for (const parent of source.parents()) this.#up(new ParentNodes(places, parent), parent.name)
    this.#unsubscribe = source.subscribe((event) => this.#note(event))
  }

  subscribe(listener: (change: TreeChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Follows its source no longer. */
  close(): void {
    this.#unsubscribe()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #note(event: SysfsEvent): void {
    if (event.action === 'up') {
      const { parent } = event
      this.#parents.get(parent.name)?.remove()
      this.#up(new ParentNodes(this.#places, parent), parent.name)
      return
    }
    const nodes = this.#parents.get(event.parent)
    if (event.action === 'down') {
      this.#parents.delete(event.parent)
      nodes?.remove()
      return
    }
    const { mdev, now, removed = false } = event
    nodes?.update(now)
    if (mdev === undefined) return
    if (removed) nodes?.removeMdev(mdev.uuid)
    else nodes?.updateMdev(mdev)
  }

  #up(nodes: ParentNodes, name: string): void {
    this.#parents.set(name, nodes)
  }

  /** One that throws is logged and stops nothing. */
  #tell(change: TreeChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (error) {
        this.#log.error('listener for a change of the tree', error)
      }
    }
  }
}

function busDirectory(places: Places): Directory {
  return new Directory(places.tell, () => [
    ['devices', places.devices],
    ['drivers', places.drivers.directory],
    ['drivers_autoprobe', constantFile(0o644, '1\n', /^[^]*$/)],
    [
      'drivers_probe',
      new AttributeFile(0o200, {
        store: (bytes) => {
          const name = writtenName(bytes)
          if (places.devices.lookup(name) === undefined)
            throw new ErrnoError('ENODEV', `drivers_probe: no device ${name} on the bus`)
        },
      }),
    ],
    ['uevent', new AttributeFile(0o200, { store: acceptor(UEVENT) })],
  ])
}
