/** Directories of the tree: they tell what comes and goes in them, and are empty once they have been removed. */
import type { TreeChange, TreeDirectory, TreeLink } from '../lib/tree.ts'
import type { AttributeFile } from './attribute-file.ts'

export type SysfsNode = Directory | AttributeFile | TreeLink
export type Entry = readonly [name: string, node: SysfsNode]

/** Told each change of the tree. */
export type Tell = (change: TreeChange) => void

export class Directory implements TreeDirectory {
  readonly kind = 'directory'
  readonly mode = 0o755
  readonly #tell: Tell
  readonly #entries = new Map<string, SysfsNode>()
  #fill: (() => Iterable<Entry>) | undefined

  /** @param fill what is in it from the beginning; made when somebody looks for the first time */
  constructor(tell: Tell, fill?: () => Iterable<Entry>) {
    this.#tell = tell
    this.#fill = fill
  }

  names(): Iterable<string> {
    return this.#filled().keys()
  }

  lookup(name: string): SysfsNode | undefined {
    return this.#filled().get(name)
  }

  /** Puts a node in place; what has its name already stays. */
  add(name: string, node: SysfsNode): void {
    const entries = this.#filled()
    if (entries.has(name)) return
    entries.set(name, node)
    this.#tell({ node: this, name })
  }

  /** The directory of that name, made if need be; undefined where something else has the name. */
  subdirectory(name: string): Directory | undefined {
    const there = this.lookup(name)
    if (there !== undefined) return there.kind === 'directory' ? there : undefined
    const made = new Directory(this.#tell)
    this.add(name, made)
    return made
  }

  /** Removes an entry with all that is in it. */
  delete(name: string): void {
    const entries = this.#filled()
    const node = entries.get(name)
    if (node === undefined) return
    entries.delete(name)
    if (node.kind !== 'link') node.remove()
    this.#tell({ node: this, name })
  }

  /** It has been removed: who stands in it finds nothing, who has a file of it open gets ENODEV. */
  remove(): void {
    this.#fill = undefined
    for (const node of this.#entries.values()) if (node.kind !== 'link') node.remove()
    this.#entries.clear()
  }

  #filled(): Map<string, SysfsNode> {
    const fill = this.#fill
    this.#fill = undefined
    if (fill !== undefined) for (const [name, node] of fill()) this.#entries.set(name, node)
    return this.#entries
  }
}
