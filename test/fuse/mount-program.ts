/**
 * Mounts a test tree at the place given, in a process of its own because who serves a mount must not touch it. It says `ready`,
 * then takes commands, a line each, and answers each by a line of JSON.
 */
import { createInterface } from 'node:readline'
import { describeError, ErrnoError, type ErrnoCode } from '../../src/lib/errno.ts'
import { createLogger } from '../../src/lib/log.ts'
import { FuseMount } from '../../src/fuse/fuse-mount.ts'
import { file, link, TestDirectory, TestTree } from './test-tree.ts'

const [path = '', allowOther] = process.argv.slice(2)

/** What was written to `log`, a write an entry, and what became of slow calls. */
const written: string[] = []
const slow: string[] = []
let value = 'one\n'
const many = new TestDirectory()
const waiting = new Set<() => void>()

/** Ends by the command `finish`, or not at all. */
function waitFor(what: string, signal: AbortSignal): Promise<void> {
  slow.push(`${what} waits`)
  signal.addEventListener('abort', () => slow.push(`${what} aborted`))
  return new Promise((resolve) => waiting.add(resolve))
}

/** A device that goes when 1 is written to its `remove`. */
function device(name: string): TestDirectory {
  return new TestDirectory({
    name: file(0o444, { read: () => `${name}\n` }),
    remove: file(0o200, { write: () => tree.remove(many, name) }),
    wait: file(0o200, { write: (_, { signal }) => waitFor('write', signal) }),
    up: link('..'),
    power: new TestDirectory({ control: file(0o644, { read: () => 'auto\n', write() {} }) }),
  })
}

const valueFile = file(0o644, {
  read: () => value,
  write(bytes, { uid }) {
    written.push(`${uid}: ${Buffer.from(bytes).toString('latin1')}`)
  },
})
const root = new TestDirectory({
  value: valueFile,
  readonly: file(0o444, { read: () => 'fixed\n' }),
  writeonly: file(0o200, { write() {} }),
  empty: file(0o444, { read: () => '' }),
  long: file(0o444, { read: () => 'x'.repeat(5000) }),
  counter: file(0o444, { read: () => `${++reads}\n` }),
  refuse: file(0o644, {
    read() {
      throw new ErrnoError('EIO', 'refuse: cannot be shown')
    },
    write(bytes) {
      const code = Buffer.from(bytes).toString('latin1').trim()
      if (code === 'bug') throw new TypeError('a bug')
      if (code === '517') throw Object.assign(new Error('odd'), { errno: 517 })
      throw new ErrnoError(code as ErrnoCode, `refuse: ${code}`)
    },
  }),
  slow: file(0o644, {
    read: async ({ signal }) => {
      await waitFor('read', signal)
      return 'at last\n'
    },
    write: (_, { signal }) => waitFor('write', signal),
  }),
  create: file(0o200, {
    async write(bytes) {
      await Promise.resolve()
      const name = Buffer.from(bytes).toString('latin1').trim()
      if (many.entries.has(name)) throw new ErrnoError('EEXIST', `${name}: there already`)
      tree.add(many, name, device(name))
    },
  }),
  many,
  link: link('many'),
  broken: link('nowhere'),
})
const tree = new TestTree(root)
let reads = 0

const COMMANDS: Readonly<Record<string, (argument: string) => unknown>> = {
  held: () => mount.held,
  written: () => written.splice(0),
  slow: () => slow.splice(0),
  finish: () => {
    for (const resolve of waiting) resolve()
    waiting.clear()
  },
  set(text) {
    value = `${text}\n`
    tree.tell({ node: valueFile })
  },
  add: (name) => tree.add(many, name, device(name)),
  remove: (name) => tree.remove(many, name),
  fill(count) {
    for (let i = 0; i < Number(count); i++) tree.add(many, `entry-${i}`, device(`entry-${i}`))
  },
  clear: () => {
    for (const name of many.entries.keys()) tree.remove(many, name)
  },
  churn(count) {
    for (let i = 0; i < Number(count); i++) {
      tree.remove(many, `entry-${i}`)
      tree.add(many, `entry-${i}`, device(`entry-${i}`))
    }
  },
  async close() {
    await mount.close()
    process.exitCode = 0
    input.close()
  },
  exit: () => {
    setImmediate(() => process.exit(0))
  },
}

const options = allowOther === undefined ? {} : { allowOther: allowOther === 'true' }
const mount = await FuseMount.mount(tree, { path, ...options, log: createLogger('info') }).catch(
  (error: unknown) => {
    console.log(describeError(error))
    process.exit(1)
  },
)
const input = createInterface({ input: process.stdin })
input.on('line', (line) => {
  const [command = '', ...rest] = line.split(' ')
  void Promise.resolve(COMMANDS[command]?.(rest.join(' '))).then((answer) =>
    console.log(JSON.stringify(answer ?? null)),
  )
})
input.on('close', () => void mount.close())
process.once('SIGTERM', () => input.close())
void mount.ended.then(() => input.close())
console.log('ready')
