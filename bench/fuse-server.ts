/** Serves a tree of small files at the place given until its input ends, in a process of its own: the child of the part `fuse`. */
import { FuseMount } from '../src/fuse/fuse-mount.ts'
import type { Tree, TreeDirectory, TreeFile, TreeNode } from '../src/lib/tree.ts'

const [path = '', count = '0'] = process.argv.slice(2)

function directory(entries: ReadonlyMap<string, TreeNode>): TreeDirectory {
  return {
    kind: 'directory',
    mode: 0o755,
    names: () => entries.keys(),
    lookup: (name) => entries.get(name),
  }
}

const value: TreeFile = { kind: 'file', mode: 0o644, read: () => '0\n', write() {} }
const entry = (): TreeDirectory => directory(new Map([['value', value]]))
const names = Array.from({ length: Number(count) }, (_, index) => `entry-${index}`)
const entries = directory(new Map(names.map((name) => [name, entry()])))
const tree: Tree = {
  root: directory(
    new Map<string, TreeNode>([
      ['value', value],
      ['entries', entries],
    ]),
  ),
  subscribe: () => () => {},
}

const mount = await FuseMount.mount(tree, { path })
process.stdin.on('end', () => void mount.close()).resume()
process.once('SIGTERM', () => void mount.close())
console.log(JSON.stringify({ path: mount.path }))
