/** `/bus/mdev/drivers` and `/class/<driver>`: there as long as a parent has that driver. */
import { ErrnoError } from '../lib/errno.ts'
import { acceptor, AttributeFile } from './attribute-file.ts'
import { Directory, type Entry, type Tell } from './directory.ts'
import { driverPath, link, parentPath } from './paths.ts'
import { UEVENT, writtenName } from './written.ts'

export class Drivers {
  /** On the bus. */
  readonly directory: Directory
  readonly #tell: Tell
  readonly #classes: Directory
  readonly #devices: Directory
  readonly #parents = new Map<string, Set<string>>()

  /** @param classes `/class` @param devices `/devices/virtual` */
  constructor(tell: Tell, classes: Directory, devices: Directory) {
    this.#tell = tell
    this.#classes = classes
    this.#devices = devices
    this.directory = new Directory(tell)
  }

  /** Puts a parent in its place. */
  addParent(driver: string, parent: string, node: Directory): void {
    const parents = this.#parents.get(driver) ?? new Set()
    this.#parents.set(driver, parents.add(parent))
    if (this.directory.lookup(driver) === undefined) {
      this.directory.add(driver, new Directory(this.#tell, () => driverFiles(driver, this)))
    }
    this.#devices.subdirectory(driver)?.add(parent, node)
    this.#classes
      .subdirectory(driver)
      ?.add(parent, link(`/class/${driver}`, parentPath(driver, parent)))
  }

  removeParent(driver: string, parent: string): void {
    const parents = this.#parents.get(driver)
    if (parents?.delete(parent) !== true) return
    this.#classes.subdirectory(driver)?.delete(parent)
    this.#devices.subdirectory(driver)?.delete(parent)
    if (parents.size > 0) return
    this.#parents.delete(driver)
    this.#devices.delete(driver)
    this.#classes.delete(driver)
    this.directory.delete(driver)
  }

  /** @param path of an mdev that the driver has built */
  bind(driver: string, uuid: string, path: string): void {
    this.directory.subdirectory(driver)?.add(uuid, link(driverPath(driver), path))
  }

  unbind(driver: string, uuid: string): void {
    this.directory.subdirectory(driver)?.delete(uuid)
  }
}

function driverFiles(driver: string, drivers: Drivers): Entry[] {
  return [
    ['bind', new AttributeFile(0o200, { store: refuseToBind })],
    ['uevent', new AttributeFile(0o200, { store: acceptor(UEVENT) })],
    [
      'unbind',
      new AttributeFile(0o200, {
        store: (bytes) => {
          const name = writtenName(bytes)
          const there = drivers.directory.subdirectory(driver)?.lookup(name)
          if (there?.kind !== 'link')
            throw new ErrnoError('ENODEV', `driver ${driver}: has no device ${name}`)
          throw new ErrnoError(
            'EOPNOTSUPP',
            `mdev ${name}: is nothing without its driver; remove it`,
          )
        },
      }),
    ],
  ]
}

/** As in the kernel: only `create` binds. */
function refuseToBind(bytes: Uint8Array): never {
  throw new ErrnoError('ENODEV', `device ${writtenName(bytes)}: is bound when it is created only`)
}
