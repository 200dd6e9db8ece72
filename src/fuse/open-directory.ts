/**
 * One open directory: the names that were there when it was read from its start, so that nothing is shown twice or left out
 * while entries come and go. What has gone by the time its turn comes is not shown.
 */
import type { Inode } from './inode.ts'
import { type DirectoryInode, type InodeTable } from './inode-table.ts'

/** Takes an entry into a listing. @param next where to go on after it @returns false where there is no room left */
export type TakeEntry = (entry: {
  readonly name: string
  readonly inode: Inode
  readonly next: number
}) => boolean

export class OpenDirectory {
  readonly inode: DirectoryInode
  readonly #table: InodeTable
  #names: readonly string[] = []

  constructor(inode: DirectoryInode, table: InodeTable) {
    this.inode = inode
    this.#table = table
  }

  /** Lists from `offset` on: 0, or what an entry had for its next. Of what is gone only itself and its parent are left. */
  list(offset: number, take: TakeEntry): void {
    const { inode } = this
    if (offset === 0) this.#names = inode.alive ? [...inode.node.names()] : []
    const own = { '.': inode, '..': inode.parent ?? inode }
    for (let at = offset; at < this.#names.length + 2; at++) {
      const name = at === 0 ? '.' : at === 1 ? '..' : this.#names[at - 2]!
      const entry = at < 2 ? own[name as keyof typeof own] : this.#table.find(inode, name)
      if (entry !== undefined && !take({ name, inode: entry, next: at + 1 })) return
    }
  }
}
