/** One type of a parent in the tree. */
import type { TypeSnapshot } from '../mdev/state.ts'
import { AttributeFile, line } from './attribute-file.ts'
import { Directory } from './directory.ts'
import type { Places } from './places.ts'
import { ValueFiles } from './value-files.ts'
import { writtenUuid } from './written.ts'

/** Larger counts than this mdevctl cannot read, and refuses to start anything. */
const MOST_INSTANCES = 2 ** 31 - 1

export class TypeNodes {
  readonly directory: Directory
  /** Links to its mdevs. */
  readonly devices: Directory
  readonly #places: Places
  readonly #available: AttributeFile
  readonly #values: ValueFiles
  #snapshot: TypeSnapshot

  /** @param parent its name */
  constructor(places: Places, parent: string, snapshot: TypeSnapshot) {
    const { source, tell } = places
    const { name } = snapshot
    this.#places = places
    this.#snapshot = snapshot
    this.devices = new Directory(tell)
    this.#available = new AttributeFile(0o444, {
      show: () => `${Math.min(this.#snapshot.availableInstances, MOST_INSTANCES)}\n`,
    })
    this.directory = new Directory(tell, () => [
      ['available_instances', this.#available],
      [
        'create',
        new AttributeFile(0o200, {
          store: (bytes, call) => source.create({ parent, uuid: writtenUuid(bytes) }, name, call),
        }),
      ],
      ...(snapshot.description === undefined
        ? []
        : [['description', this.#file(() => this.#snapshot.description ?? '')] as const]),
      ['device_api', this.#file(() => this.#snapshot.deviceApi)],
      ['devices', this.devices],
      ['name', this.#file(() => this.#snapshot.prettyName)],
      ...(snapshot.peerToPeer === true ? [['peer_to_peer', this.#file(() => '1')] as const] : []),
    ])
    this.#values = new ValueFiles({
      directory: this.directory,
      tell,
      of: `type ${name}`,
      status: async () => {
        const { types } = await source.showParent(parent)
        return types.find((type) => type.name === name)?.status ?? {}
      },
    })
    this.#values.update(snapshot)
  }

  update(snapshot: TypeSnapshot): void {
    const before = this.#snapshot
    this.#snapshot = snapshot
    if (before.availableInstances !== snapshot.availableInstances)
      this.#places.tell({ node: this.#available })
    this.#values.update(snapshot)
  }

  #file(text: () => string): AttributeFile {
    return new AttributeFile(0o444, { show: () => line(text()) })
  }
}
