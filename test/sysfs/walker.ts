/** Looks at a tree without a mount, as a process does at a file system: paths, links, and what open refuses. */
import assert from 'node:assert/strict'
import { posix } from 'node:path'
import { errnoCode, errnoOf } from '../../src/lib/errno.ts'
import type { Tree, TreeCall, TreeNode } from '../../src/lib/tree.ts'

function byRoot(): TreeCall {
  return { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal }
}

export class Walker {
  readonly #tree: Tree

  constructor(tree: Tree) {
    this.#tree = tree
  }

  /** What is at a path, links on the way followed. */
  node(path: string): TreeNode | undefined {
    const [directory, name] = [posix.dirname(path), posix.basename(path)]
    if (path === '/') return this.#tree.root
    const parent = this.target(directory)
    return parent?.kind === 'directory' ? parent.lookup(name) : undefined
  }

  /** The same, a link at the end followed too. */
  target(path: string): TreeNode | undefined {
    const real = this.realpath(path)
    return real === undefined ? undefined : this.#at(real)
  }

  realpath(path: string): string | undefined {
    let at = '/'
    for (const name of path.split('/').filter((part) => part !== '')) {
      const next = posix.join(at, name)
      const node = this.#at(next)
      if (node === undefined) return undefined
      if (node.kind === 'link') {
        const target = this.realpath(posix.join(at, node.target))
        if (target === undefined) return undefined
        at = target
      } else at = next
    }
    return at
  }

  ls(path: string): string[] {
    const node = this.target(path)
    assert.equal(node?.kind, 'directory', path)
    return [...node.names()].toSorted()
  }

  /** As `cat`: the text, or the errno's name. */
  async read(path: string, call: Partial<TreeCall> = {}): Promise<string> {
    const node = this.target(path)
    if (node === undefined) return 'ENOENT'
    if (node.kind !== 'file') return 'EISDIR'
    if (node.read === undefined) return 'EACCES'
    try {
      return await node.read({ ...byRoot(), ...call })
    } catch (error) {
      return errnoCode(errnoOf(error))
    }
  }

  /** One write(2): `ok`, or the errno's name. */
  async write(
    path: string,
    text: string | Uint8Array,
    call: Partial<TreeCall> = {},
  ): Promise<string> {
    const node = this.target(path)
    if (node === undefined) return 'ENOENT'
    if (node.kind !== 'file') return 'EISDIR'
    if (node.write === undefined) return 'EACCES'
    return outcome(() => node.write?.(Buffer.from(text), { ...byRoot(), ...call }))
  }

  /** A line for every entry below a path, as the transcript's `tree` prints it; `power/` is left out. */
  async tree(path: string): Promise<string[]> {
    const lines: string[] = []
    const walk = async (directory: TreeNode, prefix: string): Promise<void> => {
      if (directory.kind !== 'directory') return
      for (const name of [...directory.names()].toSorted()) {
        const node = directory.lookup(name)
        assert.ok(node, `${prefix}${name} is listed`)
        if (node.kind === 'link') lines.push(`l ${prefix}${name} -> ${node.target}`)
        else if (node.kind === 'directory') {
          lines.push(`d ${prefix}${name}/`)
          if (name !== 'power') await walk(node, `${prefix}${name}/`)
        } else {
          const text =
            node.read === undefined ? '(write-only)' : JSON.stringify(await node.read(byRoot()))
          lines.push(`${node.mode.toString(8)} ${prefix}${name} ${text}`)
        }
      }
    }
    const top = this.target(path)
    assert.ok(top, path)
    await walk(top, '')
    return lines
  }

  #at(path: string): TreeNode | undefined {
    let node: TreeNode | undefined = this.#tree.root
    for (const name of path.split('/').filter((part) => part !== '')) {
      if (node?.kind !== 'directory') return undefined
      node = node.lookup(name)
    }
    return node
  }
}

/** `ok`, or the name of the errno. */
export async function outcome(call: () => void | Promise<void> | undefined): Promise<string> {
  try {
    await call()
    return 'ok'
  } catch (error) {
    return errnoCode(errnoOf(error))
  }
}
