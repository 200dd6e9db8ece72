/**
 * Which nodes the kernel knows, by the number that it knows them by.
 *
 * A node keeps its number, its owner and its mode for as long as it is in the tree, whether the kernel has forgotten it
 * meanwhile or not. What has left the tree stays in the table, not alive, until the kernel forgets it: somebody may have it
 * open, or stand in it.
 */
import { FUSE_ROOT_ID } from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { TreeDirectory, TreeNode } from '../lib/tree.ts'
import { Inode } from './inode.ts'

/** Most nodes that have gone and are kept for the kernel; a node that it asks for beyond is ESTALE. */
const MAX_GONE = 100_000

/** A directory, for what only directories can. */
export type DirectoryInode = Inode & { readonly node: TreeDirectory }

export class InodeTable {
  readonly root: DirectoryInode
  readonly #owner: { readonly uid: number; readonly gid: number }
  readonly #byNode = new WeakMap<TreeNode, Inode>()
  readonly #byId = new Map<number, Inode>()
  readonly #gone = new Set<Inode>()
  #nextId = FUSE_ROOT_ID

  /** @param owner of every node, until it is changed */
  constructor(root: TreeDirectory, owner: { readonly uid: number; readonly gid: number }) {
    this.#owner = owner
    this.root = this.#of(root, undefined, '') as DirectoryInode
    this.#byId.set(this.root.id, this.root)
  }

  /** How many nodes the kernel knows, the root included. */
  get size(): number {
    return this.#byId.size
  }

  /** What has left the tree and the kernel still knows; what was in a directory comes before it. */
  get gone(): ReadonlySet<Inode> {
    return this.#gone
  }

  /** @throws ESTALE the kernel has been told of no such node, or has forgotten it */
  get(id: number): Inode {
    const inode = this.#byId.get(id)
    if (inode === undefined) throw new ErrnoError('ESTALE', `node ${id}: not known`)
    return inode
  }

  /** @throws ESTALE, as `get` · ENOTDIR */
  directory(id: number): DirectoryInode {
    const inode = this.get(id)
    if (!isDirectory(inode)) throw new ErrnoError('ENOTDIR', `${pathOf(inode)}: no directory`)
    return inode
  }

  /** What is known of a node; undefined where nobody has ever looked at it. */
  known(node: TreeNode): Inode | undefined {
    return this.#byNode.get(node)
  }

  /** The entry of that name as of now; undefined where there is none. It is not yet the kernel's: see `acquire`. */
  find(directory: DirectoryInode, name: string): Inode | undefined {
    const node = directory.alive ? directory.node.lookup(name) : undefined
    const before = directory.children.get(name)
    if (before !== undefined && before.node !== node) this.kill(before)
    return node === undefined ? undefined : this.#of(node, directory, name)
  }

  /** How many directories are in a directory. */
  countSubdirectories(directory: DirectoryInode): number {
    if (!directory.alive) return 0
    directory.subdirectories ??= Array.from(directory.node.names()).filter(
      (name) => directory.node.lookup(name)?.kind === 'directory',
    ).length
    return directory.subdirectories
  }

  /** The kernel is told of this node, once more. */
  acquire(inode: Inode): void {
    inode.lookups++
    this.#byId.set(inode.id, inode)
    inode.parent?.children.set(inode.name, inode)
  }

  /** The kernel has forgotten `count` of the times that it was told of the node. */
  forget(id: number, count: number): void {
    const inode = this.#byId.get(id)
    if (inode === undefined || inode === this.root) return
    inode.lookups -= count
    if (inode.lookups > 0) return
    this.#drop(inode)
    leave(inode)
  }

  /** It has left the tree, and with it all that is in it. */
  kill(inode: Inode): void {
    if (!inode.alive) return
    inode.alive = false
    leave(inode)
    for (const child of inode.children.values()) this.kill(child)
    if (inode.lookups > 0) this.#keepGone(inode)
    inode.tellWatchers()
  }

  /** The oldest are kept for nobody, most likely: a kernel that is short of nothing forgets nothing by itself. */
  #keepGone(inode: Inode): void {
    this.#gone.add(inode)
    const [oldest] = this.#gone
    if (oldest !== undefined && this.#gone.size > MAX_GONE) this.#drop(oldest)
  }

  #drop(inode: Inode): void {
    inode.lookups = 0
    this.#byId.delete(inode.id)
    this.#gone.delete(inode)
  }

  #of(node: TreeNode, parent: Inode | undefined, name: string): Inode {
    const known = this.#byNode.get(node)
    if (known === undefined) {
      const inode = new Inode(this.#nextId++, node, { parent, name }, this.#owner)
      this.#byNode.set(node, inode)
      return inode
    }
    if (known.parent !== parent || known.name !== name) {
      leave(known)
      known.parent = parent
      known.name = name
    }
    known.alive = true
    this.#gone.delete(known)
    return known
  }
}

export function isDirectory(inode: Inode): inode is DirectoryInode {
  return inode.node.kind === 'directory'
}

/** Where a node is or was, for messages. */
export function pathOf(inode: Inode): string {
  const names: string[] = []
  for (let at: Inode | undefined = inode; at?.parent !== undefined; at = at.parent)
    names.unshift(at.name)
  return `/${names.join('/')}`
}

function leave(inode: Inode): void {
  const siblings = inode.parent?.children
  if (siblings?.get(inode.name) === inode) siblings.delete(inode.name)
}
