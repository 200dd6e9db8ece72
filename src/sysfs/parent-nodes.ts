/** One parent in the tree, with its types and mdevs. */
import type {
  AttributeSnapshot,
  MdevSnapshot,
  ParentNow,
  ParentSnapshot,
  TypeSnapshot,
} from '../mdev/state.ts'
import { AttributeFile } from './attribute-file.ts'
import { Directory } from './directory.ts'
import { type MdevParent, MdevNodes } from './mdev-nodes.ts'
import { link, MDEV_CLASS, parentPath, TYPES } from './paths.ts'
import type { Places } from './places.ts'
import { powerDirectory } from './power.ts'
import { TypeNodes } from './type-nodes.ts'
import { ValueFiles } from './value-files.ts'
import { writtenUevent } from './written.ts'

export class ParentNodes implements MdevParent {
  readonly path: string
  readonly directory: Directory
  readonly driver: string
  readonly attributes: readonly AttributeSnapshot[]
  readonly #name: string
  readonly #places: Places
  readonly #typesDirectory: Directory
  readonly #types = new Map<string, TypeNodes>()
  readonly #mdevs = new Map<string, MdevNodes>()
  readonly #values: ValueFiles

  constructor(places: Places, snapshot: ParentSnapshot) {
    const { name, driver } = snapshot
    this.#places = places
    this.#name = name
    this.driver = driver
    this.attributes = snapshot.attributes
    this.path = parentPath(driver, name)
    this.#typesDirectory = new Directory(places.tell)
    this.directory = new Directory(places.tell, () => [
      [TYPES, this.#typesDirectory],
      ['power', powerDirectory(places.tell)],
      ['subsystem', link(this.path, `/class/${driver}`)],
      [
        'uevent',
        new AttributeFile(0o644, {
          show: () => '',
          store: (bytes) => places.source.uevent({ parent: name }, writtenUevent(bytes)),
        }),
      ],
    ])
    this.#values = new ValueFiles({
      directory: this.directory,
      tell: places.tell,
      of: `parent ${name}`,
      status: async () => (await places.source.showParent(name)).status,
      attributes: snapshot.parentAttributes,
      isWritable: ({ change }) => change === 'live',
      store: (texts, call) => places.source.changeParent(name, texts, call),
    })
    this.#updateTypes(snapshot.types)
    this.#values.update(snapshot)
    places.drivers.addParent(driver, name, this.directory)
    for (const mdev of snapshot.mdevs) this.updateMdev(mdev)
    this.update(snapshot)
  }

  update(now: ParentNow): void {
    // First of all, as in the kernel: nobody shall find it any more, though it is still there.
    const { parents } = this.#places
    if (now.state === 'registered') parents.add(this.#name, link(MDEV_CLASS, this.path))
    else parents.delete(this.#name)
    this.#updateTypes(now.types)
    this.#values.update(now)
  }

  updateMdev(snapshot: MdevSnapshot): void {
    const nodes = this.#mdevs.get(snapshot.uuid)
    if (nodes === undefined) {
      this.#mdevs.set(snapshot.uuid, new MdevNodes(this.#places, this, snapshot))
    } else {
      nodes.update(snapshot)
    }
  }

  removeMdev(uuid: string): void {
    this.#mdevs.get(uuid)?.remove()
    this.#mdevs.delete(uuid)
  }

  /** It has gone. */
  remove(): void {
    this.#places.parents.delete(this.#name)
    for (const uuid of this.#mdevs.keys()) this.removeMdev(uuid)
    this.#places.drivers.removeParent(this.driver, this.#name)
  }

  devicesOf(type: string): Directory | undefined {
    return this.#types.get(type)?.devices
  }

  /** A driver has the types that it has: only what they say changes. */
  #updateTypes(types: readonly TypeSnapshot[]): void {
    for (const type of types) {
      const nodes = this.#types.get(type.name)
      if (nodes === undefined) {
        const made = new TypeNodes(this.#places, this.#name, type)
        this.#types.set(type.name, made)
        this.#typesDirectory.add(type.name, made.directory)
      } else {
        nodes.update(type)
      }
    }
  }
}
