/** One mdev in the tree: its directory, and the links to it, as far as its state has brought it. */
import { ErrnoError } from '../lib/errno.ts'
import type { TreeCall } from '../lib/tree.ts'
import type { MdevState } from '../mdev/mdev-life.ts'
import type { AttributeSnapshot, MdevSnapshot } from '../mdev/state.ts'
import { AttributeFile, constantFile } from './attribute-file.ts'
import { Directory } from './directory.ts'
import { BUS, driverPath, GROUPS, link, TYPES, VFIO_DEV_CLASS } from './paths.ts'
import type { Places } from './places.ts'
import { powerDirectory } from './power.ts'
import { ValueFiles } from './value-files.ts'
import { asksForRemoval, UEVENT, writtenUevent } from './written.ts'

/** Of its parent. */
export interface MdevParent {
  readonly path: string
  readonly directory: Directory
  readonly driver: string
  readonly attributes: readonly AttributeSnapshot[]
  /** The directory of a type's mdevs. */
  devicesOf(type: string): Directory | undefined
}

export class MdevNodes {
  readonly #places: Places
  readonly #parent: MdevParent
  readonly #directory: Directory
  readonly #path: string
  #snapshot: MdevSnapshot
  /** How far the nodes are; the mdev may be further. */
  #shown: MdevState = 'creating'
  #values: ValueFiles | undefined
  #vfioIndex: number | undefined
  readonly #end = () => this.remove()

  constructor(places: Places, parent: MdevParent, snapshot: MdevSnapshot) {
    this.#places = places
    this.#parent = parent
    this.#snapshot = snapshot
    const { uuid } = snapshot
    this.#path = `${parent.path}/${uuid}`
    this.#directory = new Directory(places.tell, () => [
      ['power', powerDirectory(places.tell)],
      ['subsystem', link(this.#path, BUS)],
      [
        'uevent',
        new AttributeFile(0o644, {
          show: () => (this.#shown === 'active' ? `DRIVER=${parent.driver}\n` : ''),
          store: (bytes) =>
            places.source.uevent({ parent: snapshot.parent, uuid }, writtenUevent(bytes)),
        }),
      ],
      ['remove', this.#removeFile()],
    ])
    // its end on another parent, whose host has yet to tell of it
    places.mdevs.get(uuid)?.()
    places.mdevs.set(uuid, this.#end)
    parent.directory.add(uuid, this.#directory)
    places.devices.add(uuid, link(`${BUS}/devices`, this.#path))
    this.update(snapshot)
  }

  update(snapshot: MdevSnapshot): void {
    const { group } = this.#snapshot
    this.#snapshot = snapshot
    const { state } = snapshot
    if (this.#shown === 'active' && snapshot.group !== group) this.#regroup(group)
    if (this.#shown === 'creating' && state !== 'creating') this.#bind()
    if (this.#shown === 'active' && state !== 'active') this.#hide()
    if (this.#shown === 'active') this.#values?.update(snapshot)
  }

  /** It is no more. Idempotent. */
  remove(): void {
    if (this.#shown === 'removed') return
    const { uuid, group } = this.#snapshot
    if (this.#places.mdevs.get(uuid) === this.#end) this.#places.mdevs.delete(uuid)
    if (this.#shown === 'creating') this.#places.devices.delete(uuid)
    if (this.#shown === 'active') this.#hide()
    this.#shown = 'removed'
    this.#parent.directory.delete(uuid)
    this.#places.groups.leave(group, uuid)
  }

  #bind(): void {
    this.#shown = 'active'
    const { uuid, type } = this.#snapshot
    const { driver, path, attributes } = this.#parent
    const places = this.#places
    const directory = this.#directory
    this.#joinGroup()
    this.#addVfioDevice()
    places.drivers.bind(driver, uuid, this.#path)
    directory.add('driver', link(this.#path, driverPath(driver)))
    directory.add('mdev_type', link(this.#path, `${path}/${TYPES}/${type}`))
    const key = { parent: this.#snapshot.parent, uuid }
    this.#values = new ValueFiles({
      directory,
      tell: places.tell,
      of: `mdev ${uuid}`,
      status: async () => (await places.source.show(key)).status,
      attributes,
      isWritable: ({ change }) => change !== 're-creation',
      store: (texts, call) => places.source.change(key, texts, call),
    })
    this.#values.update(this.#snapshot)
    // Last, as in the kernel: by then all else is there.
    this.#parent.devicesOf(type)?.add(uuid, link(`${path}/${TYPES}/${type}/devices`, this.#path))
  }

  /** It has left `group` for another. */
  #regroup(group: number): void {
    this.#places.groups.leave(group, this.#snapshot.uuid)
    this.#directory.delete('iommu_group')
    this.#joinGroup()
  }

  #joinGroup(): void {
    const { uuid, group } = this.#snapshot
    this.#places.groups.join(group, uuid, this.#path)
    this.#directory.add('iommu_group', link(this.#path, `${GROUPS}/${group}`))
  }

  #addVfioDevice(): void {
    const { vfioIndices, vfioDevs, tell } = this.#places
    const index = vfioIndices.take()
    this.#vfioIndex = index
    const name = `vfio${index}`
    const path = `${this.#path}/vfio-dev/${name}`
    const device = new Directory(tell, () => [
      ['device', link(path, this.#path)],
      ['power', powerDirectory(tell)],
      ['subsystem', link(path, VFIO_DEV_CLASS)],
      ['uevent', constantFile(0o644, '', UEVENT)],
    ])
    this.#directory.subdirectory('vfio-dev')?.add(name, device)
    vfioDevs.add(name, link(VFIO_DEV_CLASS, path))
  }

  /** Its removal has begun: nothing of it is found any more but its directory and its group. */
  #hide(): void {
    this.#shown = 'removing'
    const { uuid, type } = this.#snapshot
    const places = this.#places
    if (this.#vfioIndex !== undefined) {
      places.vfioDevs.delete(`vfio${this.#vfioIndex}`)
      places.vfioIndices.giveBack(this.#vfioIndex)
    }
    places.devices.delete(uuid)
    places.drivers.unbind(this.#parent.driver, uuid)
    this.#parent.devicesOf(type)?.delete(uuid)
    for (const name of this.#directory.names()) {
      if (name !== 'iommu_group') this.#directory.delete(name)
    }
  }

  #removeFile(): AttributeFile {
    return new AttributeFile(0o200, {
      store: (bytes, call) => {
        if (!asksForRemoval(bytes)) return undefined
        const { uuid, state } = this.#snapshot
        if (state === 'creating') throw new ErrnoError('EAGAIN', `mdev ${uuid}: is being created`)
        // Of several writers one does it: the others find no file, or one that is no more.
        this.#directory.delete('remove')
        return this.#remove(call)
      },
    })
  }

  async #remove(call: TreeCall): Promise<void> {
    const { parent, uuid } = this.#snapshot
    try {
      await this.#places.source.remove({ parent, uuid }, call)
    } catch (error) {
      if (this.#shown === 'active') this.#directory.add('remove', this.#removeFile())
      throw error
    }
  }
}
