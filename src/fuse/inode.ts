/** What we know of one node of the tree besides what the tree says: its number, its owner, who watches it. */
import type { TreeNode } from '../lib/tree.ts'

/** What chmod, chown and utimes may change; the kernel checks who may. */
export interface Ownership {
  mode: number
  uid: number
  gid: number
  /** Milliseconds since 1970. */
  atime: number
  mtime: number
  ctime: number
}

/** Somebody who wants to be told when what a file says has changed, or the file is gone. */
export interface Watcher {
  changed(): void
}

const PERMISSIONS = 0o7777
const LINK_MODE = 0o777

export class Inode implements Ownership {
  /** Never given to another node. */
  readonly id: number
  readonly node: TreeNode
  /** Where it was found last. */
  parent: Inode | undefined
  name: string
  /** False once it, or a directory that it is in, has left the tree. */
  alive = true
  mode: number
  uid: number
  gid: number
  atime: number
  mtime: number
  ctime: number
  /** How many answers have told the kernel of it that it has not forgotten; while there are any, it may ask for it by number. */
  lookups = 0
  /** Those of its entries that the kernel knows, by name. */
  readonly children = new Map<string, Inode>()
  /** Grows with each change of what the file says, as kernfs counts it: a file never read is one change behind. */
  event = 1
  readonly watchers = new Set<Watcher>()
  /** It has said more than can be shown. */
  saysTooMuch = false
  /** How many of its entries are directories; undefined when that is to be counted anew. */
  subdirectories: number | undefined

  constructor(
    id: number,
    node: TreeNode,
    place: { parent: Inode | undefined; name: string },
    owner: { uid: number; gid: number },
  ) {
    this.id = id
    this.node = node
    this.parent = place.parent
    this.name = place.name
    this.mode = node.kind === 'link' ? LINK_MODE : node.mode & PERMISSIONS
    this.uid = owner.uid
    this.gid = owner.gid
    this.atime = this.mtime = this.ctime = Date.now()
  }

  /** What the file says has changed. */
  touch(): void {
    this.event++
    this.tellWatchers()
  }

  tellWatchers(): void {
    for (const watcher of this.watchers) watcher.changed()
  }
}
