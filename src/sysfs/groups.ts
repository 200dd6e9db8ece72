/** `/kernel/iommu_groups`: a directory for each group, as long as an mdev is in it. */
import { constantFile } from './attribute-file.ts'
import { Directory, type Tell } from './directory.ts'
import { GROUPS, link } from './paths.ts'

/** Nothing can be chosen: no IOMMU is behind an mdev. */
const NOTHING = /^(?!)/

export class Groups {
  readonly directory: Directory
  /** UUIDs in each group. */
  readonly #members = new Map<number, Set<string>>()

  constructor(tell: Tell) {
    this.directory = new Directory(tell)
  }

  /** @param path of the mdev */
  join(group: number, uuid: string, path: string): void {
    const members = this.#members.get(group) ?? new Set()
    this.#members.set(group, members.add(uuid))
    const directory = this.directory.subdirectory(`${group}`)
    const devices = directory?.subdirectory('devices')
    if (members.size === 1 && directory !== undefined) {
      directory.add('name', constantFile(0o444, 'vfio-noiommu\n'))
      directory.add('reserved_regions', constantFile(0o444, ''))
      directory.add('type', constantFile(0o644, 'unknown\n', NOTHING))
    }
    devices?.add(uuid, link(`${GROUPS}/${group}/devices`, path))
  }

  leave(group: number, uuid: string): void {
    const members = this.#members.get(group)
    if (members?.delete(uuid) !== true) return
    if (members.size === 0) {
      this.#members.delete(group)
      this.directory.delete(`${group}`)
      return
    }
    this.directory.subdirectory(`${group}`)?.subdirectory('devices')?.delete(uuid)
  }
}
