/** Where the nodes of parents and mdevs are put, and what they ask. */
import { Directory, type Tell } from './directory.ts'
import { Drivers } from './drivers.ts'
import { Groups } from './groups.ts'
import { Indices } from './indices.ts'
import type { SysfsSource } from './source.ts'

export class Places {
  readonly tell: Tell
  readonly source: SysfsSource
  /** `/class` */
  readonly classes: Directory
  /** `/class/mdev_bus` */
  readonly parents: Directory
  /** `/class/vfio-dev` */
  readonly vfioDevs: Directory
  readonly vfioIndices = new Indices()
  /** `/devices/virtual` */
  readonly virtual: Directory
  /** `/bus/mdev/devices` */
  readonly devices: Directory
  readonly drivers: Drivers
  readonly groups: Groups
  /** What takes away all that is shown of an mdev, by its UUID: nobody has the same twice. */
  readonly mdevs = new Map<string, () => void>()

  constructor(tell: Tell, source: SysfsSource) {
    this.tell = tell
    this.source = source
    this.parents = new Directory(tell)
    this.vfioDevs = new Directory(tell)
    this.classes = new Directory(tell, () => [
      ['mdev_bus', this.parents],
      ['vfio-dev', this.vfioDevs],
    ])
    this.virtual = new Directory(tell)
    this.devices = new Directory(tell)
    this.drivers = new Drivers(tell, this.classes, this.virtual)
    this.groups = new Groups(tell)
  }
}
