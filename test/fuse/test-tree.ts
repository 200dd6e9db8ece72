/** A tree in memory that tests change as they like. */
import type { Tree, TreeChange, TreeDirectory, TreeFile, TreeNode } from '../../src/lib/tree.ts'

export class TestDirectory implements TreeDirectory {
  readonly kind = 'directory'
  readonly mode: number
  readonly entries = new Map<string, TreeNode>()

  constructor(entries: Readonly<Record<string, TreeNode>> = {}, mode = 0o755) {
    this.mode = mode
    for (const [name, node] of Object.entries(entries)) this.entries.set(name, node)
  }

  names(): Iterable<string> {
    return this.entries.keys()
  }

  lookup(name: string): TreeNode | undefined {
    return this.entries.get(name)
  }
}

export class TestTree implements Tree {
  readonly root: TestDirectory
  readonly listeners = new Set<(change: TreeChange) => void>()

  constructor(root: TestDirectory) {
    this.root = root
  }

  subscribe(listener: (change: TreeChange) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  add(directory: TestDirectory, name: string, node: TreeNode): void {
    directory.entries.set(name, node)
    this.tell({ node: directory, name })
  }

  remove(directory: TestDirectory, name: string): void {
    directory.entries.delete(name)
    this.tell({ node: directory, name })
  }

  tell(change: TreeChange): void {
    for (const listener of this.listeners) listener(change)
  }
}

export function link(target: string): TreeNode {
  return { kind: 'link', target }
}

/** A file that says what `read` returns and takes what `write` takes. */
export function file(mode: number, { read, write }: Pick<TreeFile, 'read' | 'write'>): TreeFile {
  return {
    kind: 'file',
    mode,
    ...(read === undefined ? {} : { read }),
    ...(write === undefined ? {} : { write }),
  }
}
