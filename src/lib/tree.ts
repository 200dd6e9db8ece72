/**
 * A tree of small files that are made up when they are looked at, as sysfs is one: what shows a model (src/sysfs) builds it,
 * what serves it (src/fuse) knows nothing else of it.
 *
 * A node is one object for as long as the thing it shows is there: by that a server knows that a file is still the same.
 */

export type TreeNode = TreeDirectory | TreeFile | TreeLink

export interface TreeDirectory {
  readonly kind: 'directory'
  /** Permission bits, such as 0o755. */
  readonly mode: number
  /** Names of what is in it, in the order in which they are listed. */
  names(): Iterable<string>
  /** @returns undefined where nothing has that name */
  lookup(name: string): TreeNode | undefined
}

export interface TreeFile {
  readonly kind: 'file'
  /** Permission bits: 0o444, 0o644 or 0o200 mostly. */
  readonly mode: number
  /**
   * All of it, as of now. Without it nobody can open the file for reading (EACCES).
   *
   * @throws the errno of the read
   */
  read?(call: TreeCall): string | Promise<string>
  /**
   * Takes what one write(2) has brought, at least one byte of it. Without it nobody can open the file for writing (EACCES).
   *
   * @throws the errno of the write
   */
  write?(bytes: Uint8Array, call: TreeCall): void | Promise<void>
}

export interface TreeLink {
  readonly kind: 'link'
  /** Relative to the directory that the link is in. */
  readonly target: string
}

/** Who reads or writes. */
export interface TreeCall {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Aborted where the caller was interrupted and waits no more; what then happens is the tree's affair. */
  readonly signal: AbortSignal
}

/**
 * What has changed: an entry of a directory has come or gone (`name`), or what a file says is another (`name` undefined).
 * Told after the fact.
 */
export interface TreeChange {
  readonly node: TreeDirectory | TreeFile
  readonly name?: string
}

/** A whole tree. */
export interface Tree {
  readonly root: TreeDirectory
  /** @returns ends the subscription */
  subscribe(listener: (change: TreeChange) => void): () => void
}
