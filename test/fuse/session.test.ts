/** The protocol, as <linux/fuse.h> of Linux 6.18 and fs/kernfs, fs/sysfs have it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ErrnoError } from '../../src/lib/errno.ts'
import { MAX_PENDING_CALLS } from '../../src/fuse/pending-calls.ts'
import { Kernel, OP, readIn, text, u32, u64, writeIn } from './kernel.ts'
import { file, link, TestDirectory, TestTree } from './test-tree.ts'

const O_RDONLY = 0
const O_WRONLY = 1
const O_RDWR = 2
const S_IFREG = 0o100000
const S_IFIFO = 0o010000
// asm-generic/errno-base.h, asm-generic/errno.h
const [EPERM, ENOENT, EINTR, EIO, EBADF, EACCES, EBUSY, ENODEV, ENOTDIR, EINVAL, ENOTTY] = [
  -1, -2, -4, -5, -9, -13, -16, -19, -20, -22, -25,
]
const [ENOSYS, EPROTO, ESTALE, EUSERS] = [-38, -71, -116, -87]
// fuse.h
const [NOTIFY_POLL, NOTIFY_INVAL_INODE, NOTIFY_INC_EPOCH, NOTIFY_PRUNE] = [1, 2, 8, 9]
const POLLERR_POLLPRI = 0xa
const DEFAULT_POLLMASK = 0x145

/** Version of Linux 6.18, and one of before there were epochs. */
const MINOR = 45
const OLD_MINOR = 38

function build() {
  const written: string[] = []
  const state = { text: 'one\n', reads: 0 }
  const value = file(0o644, {
    read: () => {
      state.reads++
      return state.text
    },
    write: (bytes) => void written.push(Buffer.from(bytes).toString('latin1')),
  })
  const inner = new TestDirectory({ leaf: file(0o444, { read: () => 'leaf\n' }) })
  const directory = new TestDirectory({ inner })
  const root = new TestDirectory({ value, directory, link: link('directory/inner') })
  return { tree: new TestTree(root), root, directory, inner, value, state, written }
}

test('INIT answers in the version that both speak, and with flags that the kernel has', () => {
  const kernel = new Kernel(build().tree)
  const body = kernel.expect(OP.INIT, 0, u32(7, 45, 65536, 0xffff_ffff))
  assert.equal(body.length, 64)
  assert.deepEqual([body.readUInt32LE(0), body.readUInt32LE(4)], [7, 45])
  // ATOMIC_O_TRUNC, BIG_WRITES, PARALLEL_DIROPS, MAX_PAGES, CACHE_SYMLINKS; not READDIRPLUS, which shows what has gone
  const flags = [3, 5, 18, 22, 23].reduce((sum, bit) => sum + 2 ** bit, 0)
  assert.equal(body.readUInt32LE(12), flags)
  assert.equal(body.readUInt32LE(20), 8192, 'max_write')
  assert.equal(body.readUInt16LE(28), 16, 'max_pages')

  const plain = kernel.expect(OP.INIT, 0, u32(7, 31, 65536, 1 << 5))
  assert.equal(plain.readUInt32LE(12), 1 << 5)
})

test('INIT of another major version is answered with ours, of an old one refused', () => {
  const kernel = new Kernel(build().tree)
  assert.equal(kernel.expect(OP.INIT, 0, u32(8, 0, 0, 0)).readUInt32LE(0), 7)
  assert.equal(kernel.refusal(OP.INIT, 0, u32(6, 9, 0, 0)), EPROTO)
  assert.equal(kernel.refusal(OP.INIT, 0, u32(7, 12, 0, 0)), EPROTO)
})

test('LOOKUP says what a node is', () => {
  const kernel = new Kernel(build().tree, MINOR)
  const entry = kernel.expect(OP.LOOKUP, 1, text('value'))
  assert.equal(entry.length, 128)
  const id = entry.readBigUInt64LE(0)
  assert.equal(entry.readBigUInt64LE(40), id, 'attr.ino')
  assert.equal(entry.readBigUInt64LE(48), 4096n, 'attr.size')
  assert.equal(entry.readUInt32LE(40 + 60), 0o100644, 'attr.mode')
  assert.equal(entry.readUInt32LE(40 + 64), 1, 'attr.nlink')
  const directory = kernel.expect(OP.LOOKUP, 1, text('directory'))
  assert.equal(directory.readBigUInt64LE(48), 0n)
  assert.equal(directory.readUInt32LE(40 + 60), 0o040755)
  assert.equal(directory.readUInt32LE(40 + 64), 3, 'itself, ., and inner/..')
  const target = kernel.expect(OP.LOOKUP, 1, text('link'))
  assert.equal(target.readBigUInt64LE(48), 15n)
  assert.equal(target.readUInt32LE(40 + 60), 0o120777)
  assert.equal(kernel.expect(OP.READLINK, kernel.lookup(1, 'link')).toString(), 'directory/inner')
})

test('LOOKUP gives names a time to live only where they can be taken back', () => {
  for (const [minor, seconds] of [
    [MINOR, 60n],
    [OLD_MINOR, 0n],
  ] as const) {
    const kernel = new Kernel(build().tree, minor)
    assert.equal(kernel.expect(OP.LOOKUP, 1, text('value')).readBigUInt64LE(16), seconds)
  }
})

test('LOOKUP refuses what is not there, no directory, not known', () => {
  const kernel = new Kernel(build().tree, MINOR)
  assert.equal(kernel.refusal(OP.LOOKUP, 1, text('other')), ENOENT)
  assert.equal(kernel.refusal(OP.LOOKUP, 1, text('x'.repeat(256))), ENOENT)
  assert.equal(kernel.refusal(OP.LOOKUP, 1, text('')), ENOENT)
  assert.equal(kernel.refusal(OP.LOOKUP, kernel.lookup(1, 'value'), text('a')), ENOTDIR)
  assert.equal(kernel.refusal(OP.LOOKUP, 77, text('a')), ESTALE)
  assert.equal(kernel.refusal(OP.LOOKUP, 1, Buffer.from('value')), EINVAL, 'no NUL')
})

test('a node keeps its number when the kernel forgets it and asks again', () => {
  const kernel = new Kernel(build().tree, MINOR)
  const id = kernel.lookup(1, 'value')
  kernel.lookup(1, 'value')
  kernel.request(OP.FORGET, id, u64(1))
  assert.equal(kernel.session.held.nodes, 2)
  kernel.request(OP.BATCH_FORGET, 0, u32(2, 0), u64(id, 1), u64(99, 5))
  assert.equal(kernel.session.held.nodes, 1)
  assert.equal(kernel.refusal(OP.GETATTR, id, u64(0, 0)), ESTALE)
  assert.equal(kernel.lookup(1, 'value'), id)
  kernel.request(OP.FORGET, 1, u64(1000))
  assert.equal(kernel.lookup(1, 'value'), id, 'the root is never forgotten')
})

test('OPEN looks at methods and permissions, whoever asks', () => {
  const { tree, root } = build()
  root.entries.set('ro', file(0o444, { read: () => '' }))
  root.entries.set('wo', file(0o200, { write() {} }))
  root.entries.set('odd', file(0o644, { read: () => '' }))
  const kernel = new Kernel(tree, MINOR)
  const opens = (name: string, flags: number) =>
    kernel.request(OP.OPEN, kernel.lookup(1, name), u32(flags, 0)) && kernel.sent.at(-1)!.error
  assert.equal(opens('ro', O_RDONLY), 0)
  assert.equal(opens('ro', O_WRONLY), EACCES)
  assert.equal(opens('ro', O_RDWR), EACCES)
  assert.equal(opens('wo', O_WRONLY), 0)
  assert.equal(opens('wo', O_RDONLY), EACCES)
  assert.equal(opens('odd', O_WRONLY), EACCES, 'mode allows it, but there is no method')
  assert.equal(opens('value', O_RDWR), 0)
  kernel.expect(OP.SETATTR, kernel.lookup(1, 'value'), setattr({ mode: 0o444 }))
  assert.equal(opens('value', O_WRONLY), EACCES, 'there is a method, but no mode')
  assert.equal(opens('directory', O_RDONLY), EINVAL)
})

test('READ takes a file down at offset 0 and goes on in what it took down', () => {
  const { tree, state } = build()
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const fh = kernel.open(id, O_RDONLY)
  assert.equal(kernel.read(id, fh, 0, 2), 'on')
  state.text = 'TWO\n'
  assert.equal(kernel.read(id, fh, 2, 1), 'e')
  assert.equal(kernel.read(id, fh, 3, 4096), '\n')
  assert.equal(kernel.read(id, fh, 4, 4096), '')
  assert.equal(state.reads, 1)
  assert.equal(kernel.read(id, fh, 1, 10), 'WO\n', 'elsewhere: anew')
  assert.equal(kernel.read(id, fh, 0, 10), 'TWO\n')
  assert.equal(kernel.read(id, fh, 5000, 10), '')
  assert.equal(state.reads, 4)
})

test('READ shows a page less one byte, never half of a character', () => {
  const { tree, state } = build()
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const fh = kernel.open(id, O_RDONLY)
  for (const [character, length] of [
    ['x', 4095],
    ['é', 4094],
    ['€', 4095],
    ['𝄞', 4092],
  ] as const) {
    state.text = character.repeat(5000)
    const shown = kernel.read(id, fh, 0, 65536)
    assert.equal(shown, Buffer.from(state.text).subarray(0, length).toString('latin1'))
    assert.equal(kernel.read(id, fh, length, 65536), '')
  }
  state.text = 'x'.repeat(4095)
  assert.equal(kernel.read(id, fh, 0, 65536), state.text)
  assert.equal(kernel.logged.length, 1, 'it is complained of once')
  assert.match(kernel.logged[0]!, /\/value: says 5000 bytes/)
})

test('WRITE brings all bytes of a write(2), at most a page, wherever to', () => {
  const { tree, written } = build()
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const fh = kernel.open(id, O_WRONLY)
  const put = (offset: number, data: string) =>
    kernel.expect(OP.WRITE, id, writeIn(fh, offset, data.length), Buffer.from(data))
  assert.equal(put(0, 'a\0b').readUInt32LE(0), 3)
  assert.equal(put(100, 'x').readUInt32LE(0), 1)
  assert.equal(put(0, 'y'.repeat(5000)).readUInt32LE(0), 4096)
  assert.equal(put(0, '').readUInt32LE(0), 0)
  assert.deepEqual(written, ['a\0b', 'x', 'y'.repeat(4096)])
})

test('WRITE that says more bytes than came is EINVAL', () => {
  const { tree, written } = build()
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const fh = kernel.open(id, O_WRONLY)
  assert.equal(kernel.refusal(OP.WRITE, id, writeIn(fh, 0, 9), Buffer.from('short')), EINVAL)
  assert.equal(kernel.refusal(OP.WRITE, id, writeIn(fh, 0, 2 ** 32 - 1)), EINVAL)
  assert.deepEqual(written, [])
})

test('handles that are not open are EBADF', () => {
  const kernel = new Kernel(build().tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const fh = kernel.open(id, O_RDWR)
  kernel.expect(OP.RELEASE, id, u64(fh), u32(0, 0), u64(0))
  assert.equal(kernel.refusal(OP.READ, id, readIn(fh, 0, 10)), EBADF)
  assert.equal(kernel.refusal(OP.WRITE, id, writeIn(fh, 0, 1), Buffer.from('x')), EBADF)
  assert.equal(kernel.refusal(OP.READDIR, 1, readIn(fh, 0, 4096)), EBADF)
  assert.equal(kernel.refusal(OP.POLL, id, u64(fh, 1), u32(1, 0)), EBADF)
  assert.equal(kernel.session.held.files, 0)
})

test('errors of the tree are the errno of the reply; bugs and what Linux does not know are EIO', () => {
  const { tree, root } = build()
  let error: unknown
  const fails = () => {
    throw error
  }
  root.entries.set('bad', file(0o644, { read: fails, write: fails }))
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'bad')
  const fh = kernel.open(id, O_RDWR)
  for (const [thrown, errno] of [
    [new ErrnoError('EUSERS', 'no more'), EUSERS],
    [new TypeError('a bug'), EIO],
    ['no error at all', EIO],
    [Object.assign(new Error('EPROBE_DEFER'), { errno: 517 }), EIO],
  ] as const) {
    error = thrown
    assert.equal(kernel.refusal(OP.READ, id, readIn(fh, 0, 10)), errno)
    assert.equal(kernel.refusal(OP.WRITE, id, writeIn(fh, 0, 1), Buffer.from('x')), errno)
  }
})

test('SETATTR keeps mode, owner and times; a size is taken for done', () => {
  const kernel = new Kernel(build().tree, MINOR)
  const id = kernel.lookup(1, 'value')
  kernel.expect(OP.SETATTR, id, setattr({ mode: 0o640, uid: 5, gid: 6, size: 0 }))
  kernel.expect(OP.SETATTR, id, setattr({ atime: 1.5, mtime: -7 }))
  kernel.request(OP.FORGET, id, u64(1))
  kernel.lookup(1, 'value')
  const attr = kernel.expect(OP.GETATTR, id, u64(0, 0)).subarray(16)
  assert.equal(attr.readUInt32LE(60), 0o100640)
  assert.deepEqual([attr.readUInt32LE(68), attr.readUInt32LE(72)], [5, 6])
  assert.equal(attr.readBigUInt64LE(8), 4096n)
  assert.deepEqual([attr.readBigUInt64LE(24), attr.readUInt32LE(48)], [1n, 500_000_000])
  assert.deepEqual([attr.readBigUInt64LE(32), attr.readUInt32LE(52)], [0n, 0], 'before 1970')
})

test('what would change the tree is refused as sysfs refuses it, what is unknown as ENOSYS', () => {
  const kernel = new Kernel(build().tree, MINOR)
  assert.equal(kernel.refusal(OP.MKDIR, 1, u32(0o755, 0), text('x')), EPERM)
  assert.equal(kernel.refusal(OP.UNLINK, 1, text('value')), EPERM)
  assert.equal(kernel.refusal(OP.RENAME, 1, u64(1), text('value'), text('x')), EPERM)
  assert.equal(kernel.refusal(OP.CREATE, 1, u32(0, 0, 0, 0), text('x')), EACCES)
  assert.equal(kernel.refusal(OP.MKNOD, 1, u32(S_IFREG | 0o644, 0, 0, 0), text('x')), EACCES)
  assert.equal(kernel.refusal(OP.MKNOD, 1, u32(S_IFIFO | 0o644, 0, 0, 0), text('x')), EPERM)
  assert.equal(kernel.refusal(OP.IOCTL, 1, u64(0, 0, 0, 0)), ENOTTY)
  assert.equal(kernel.refusal(OP.FLUSH, 1, u64(0, 0, 0)), ENOSYS)
  assert.equal(kernel.refusal(4711, 1), ENOSYS)
  assert.equal(kernel.expect(OP.STATFS, 1).readUInt32LE(44), 255, 'namelen')
})

test('READDIR shows each name once while entries come and go', () => {
  const directory = new TestDirectory()
  for (let i = 0; i < 500; i++) directory.entries.set(`e${i}`, link('x'))
  const tree = new TestTree(directory)
  const kernel = new Kernel(tree, MINOR)
  const fh = Number(kernel.expect(OP.OPENDIR, 1, u32(0, 0)).readBigUInt64LE(0))
  const list = (offset: number, size: number) =>
    entriesOf(kernel.expect(OP.READDIR, 1, readIn(fh, offset, size)))
  const names: string[] = []
  for (let offset = 0; ;) {
    const entries = list(offset, 4096)
    if (entries.length === 0) break
    names.push(...entries.map(({ name }) => name))
    offset = entries.at(-1)!.next
    tree.add(directory, `new${offset}`, link('x'))
    tree.remove(directory, 'e499')
  }
  const expected = ['.', '..', ...Array.from({ length: 499 }, (_, i) => `e${i}`)]
  assert.deepEqual(names, expected)
  const again = list(0, 65536).map(({ name }) => name)
  assert.deepEqual(again.slice(0, 501), expected)
  assert.ok(again.length > 501 && again.slice(501).every((name) => name.startsWith('new')))
  assert.deepEqual(list(0, 23), [], 'no room for any')
  kernel.expect(OP.RELEASEDIR, 1, u64(fh), u32(0, 0), u64(0))
  assert.equal(kernel.session.held.directories, 0)
})

test('READDIR says what each entry is, and does not count as LOOKUP', () => {
  const kernel = new Kernel(build().tree, MINOR)
  const fh = Number(kernel.expect(OP.OPENDIR, 1, u32(0, 0)).readBigUInt64LE(0))
  const listing = kernel.expect(OP.READDIR, 1, readIn(fh, 0, 4096))
  assert.deepEqual(
    entriesOf(listing).map(({ name, type }) => [name, type]),
    [
      ['.', 4],
      ['..', 4],
      ['value', 8],
      ['directory', 4],
      ['link', 10],
    ],
  )
  assert.equal(kernel.session.held.nodes, 1)
})

test('what leaves the tree is gone at once, by a new epoch', () => {
  const { tree, root, directory } = build()
  const kernel = new Kernel(tree, MINOR)
  const directoryId = kernel.lookup(1, 'directory')
  const inner = kernel.lookup(directoryId, 'inner')
  const leaf = kernel.lookup(inner, 'leaf')
  const fh = kernel.open(leaf, O_RDONLY)
  assert.equal(kernel.read(leaf, fh, 0, 100), 'leaf\n')
  kernel.sent.length = 0

  tree.remove(root, 'directory')
  assert.deepEqual(kernel.notifications(), [NOTIFY_INVAL_INODE, NOTIFY_INC_EPOCH])
  assert.equal(kernel.refusal(OP.LOOKUP, directoryId, text('inner')), ENOENT)
  assert.equal(kernel.refusal(OP.OPEN, leaf, u32(O_RDONLY, 0)), ENODEV)
  assert.equal(kernel.refusal(OP.READ, leaf, readIn(fh, 0, 10)), ENODEV)
  assert.equal(
    kernel.read(leaf, fh, 5, 10),
    '',
    'what was taken down before can be read to its end',
  )
  kernel.expect(OP.GETATTR, leaf, u64(0, 0))
  const listing = Number(kernel.expect(OP.OPENDIR, inner, u32(0, 0)).readBigUInt64LE(0))
  const left = entriesOf(kernel.expect(OP.READDIR, inner, readIn(listing, 0, 4096)))
  assert.deepEqual(
    left.map(({ name }) => name),
    ['.', '..'],
  )

  tree.add(root, 'directory', directory) // the same again
  assert.equal(kernel.lookup(1, 'directory'), directoryId)
  assert.equal(kernel.lookup(directoryId, 'inner'), inner)
})

/** Numbers of the nodes that the kernel is to forget, of the one notification of that since the last look. */
function pruned(kernel: Kernel): number[] {
  const notifications = kernel.sent.splice(0).filter(({ unique }) => unique === 0)
  const [{ error, body } = { error: 0, body: Buffer.alloc(0) }, ...more] = notifications
  assert.deepEqual([error, more], [NOTIFY_PRUNE, []])
  const ids = Array.from({ length: body.readUInt32LE(0) }, (_, i) => 16 + 8 * i)
  assert.equal(body.length, 16 + 8 * ids.length)
  return ids.map((at) => Number(body.readBigUInt64LE(at)))
}

test('what has left the tree the kernel is told to forget, what is in a directory first, until it has', () => {
  const { tree, root, directory } = build()
  const kernel = new Kernel(tree, MINOR)
  const directoryId = kernel.lookup(1, 'directory')
  const inner = kernel.lookup(directoryId, 'inner')
  const leaf = kernel.lookup(inner, 'leaf')
  tree.remove(root, 'directory')
  assert.equal(kernel.clock.waits, 1)
  kernel.sent.length = 0
  kernel.clock.expire()
  assert.deepEqual(pruned(kernel), [leaf, inner, directoryId])

  kernel.request(OP.FORGET, leaf, u64(1))
  kernel.clock.expire() // somebody stands in the others
  assert.deepEqual(pruned(kernel), [inner, directoryId])
  tree.add(root, 'directory', directory) // the same again
  kernel.lookup(1, 'directory')
  kernel.sent.length = 0
  kernel.clock.expire()
  assert.deepEqual(pruned(kernel), [inner])
  kernel.request(OP.FORGET, inner, u64(1))
  kernel.clock.expire()
  assert.deepEqual([kernel.clock.waits, kernel.notifications()], [0, []])

  const value = kernel.lookup(1, 'value')
  const fh = kernel.open(value, O_RDONLY)
  tree.remove(root, 'value')
  kernel.short = true
  kernel.clock.expire()
  kernel.short = false
  kernel.sent.length = 0
  kernel.clock.expire()
  assert.deepEqual(pruned(kernel), [value], 'the next time')
  for (let i = 0; i < 5; i++) kernel.clock.expire()
  kernel.sent.length = 0
  kernel.expect(OP.RELEASE, value, u64(fh), u32(0, 0), u64(0))
  kernel.sent.length = 0
  kernel.clock.expire()
  assert.deepEqual(pruned(kernel), [value])
  kernel.session.close()
  assert.equal(kernel.clock.waits, 0)
})

test('what has left the tree is bounded where the kernel forgets nothing', () => {
  const { tree, root } = build()
  for (const minor of [MINOR, OLD_MINOR]) {
    const kernel = new Kernel(tree, minor)
    const ids = []
    for (let i = 0; i < 100_001; i++) {
      tree.add(root, 'passing', link('x'))
      ids.push(kernel.lookup(1, 'passing'))
      tree.remove(root, 'passing')
      kernel.sent.length = 0
    }
    assert.equal(kernel.session.held.nodes, 100_001) // with the root
    assert.equal(kernel.refusal(OP.GETATTR, ids[0]!, u64(0, 0)), ESTALE)
    kernel.expect(OP.GETATTR, ids[1]!, u64(0, 0))
    kernel.request(OP.FORGET, ids[0]!, u64(1))
    kernel.request(OP.FORGET, ids[1]!, u64(1))
    assert.equal(kernel.session.held.nodes, 100_000)
    kernel.session.close()
  }
})

test('before epochs a removal is told by the attributes of its directory alone', () => {
  const { tree, root } = build()
  const kernel = new Kernel(tree, OLD_MINOR)
  kernel.lookup(1, 'directory')
  kernel.sent.length = 0
  tree.remove(root, 'directory')
  assert.deepEqual(kernel.notifications(), [NOTIFY_INVAL_INODE])
  assert.equal(kernel.clock.waits, 0)
})

test('an entry that comes, or that nobody has looked at, is told by the attributes of its directory at most', () => {
  const { tree, root, directory } = build()
  const kernel = new Kernel(tree, MINOR)
  tree.remove(directory, 'inner')
  assert.deepEqual(kernel.notifications(), [], 'nobody has looked into it')
  tree.add(root, 'new', link('x'))
  assert.deepEqual(kernel.notifications(), [NOTIFY_INVAL_INODE])
  const nlink = () => kernel.expect(OP.GETATTR, 1, u64(0, 0)).readUInt32LE(16 + 64)
  assert.equal(nlink(), 3)
  tree.add(root, 'another', new TestDirectory())
  assert.equal(nlink(), 4)
})

test('another node under the same name is another node, even if nobody has told', () => {
  const { tree, root } = build()
  const kernel = new Kernel(tree, MINOR)
  const before = kernel.lookup(1, 'value')
  const fh = kernel.open(before, O_RDONLY)
  root.entries.set('value', file(0o444, { read: () => 'other\n' }))
  const after = kernel.lookup(1, 'value')
  assert.notEqual(after, before)
  assert.equal(kernel.refusal(OP.READ, before, readIn(fh, 0, 10)), ENODEV)
  assert.equal(kernel.read(after, kernel.open(after, O_RDONLY), 0, 10), 'other\n')
})

test('POLL tells of changes since the last reading, and of the end', () => {
  const { tree, root, value } = build()
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const fh = kernel.open(id, O_RDONLY)
  const poll = (flags: number) =>
    kernel.expect(OP.POLL, id, u64(fh, 77), u32(flags, 0)).readUInt32LE(0)
  assert.equal(poll(0), DEFAULT_POLLMASK | POLLERR_POLLPRI, 'never read')
  kernel.read(id, fh, 0, 10)
  assert.equal(poll(1), DEFAULT_POLLMASK)
  kernel.sent.length = 0
  tree.tell({ node: value })
  const [notification] = kernel.sent
  assert.equal(notification!.error, NOTIFY_POLL)
  assert.equal(notification!.body.readBigUInt64LE(0), 77n)
  tree.tell({ node: value })
  assert.equal(kernel.notifications().length, 1, 'told once for each time that somebody waits')
  assert.equal(poll(1), DEFAULT_POLLMASK | POLLERR_POLLPRI)
  kernel.read(id, fh, 0, 10)
  assert.equal(poll(1), DEFAULT_POLLMASK)
  kernel.sent.length = 0
  tree.remove(root, 'value')
  assert.ok(kernel.notifications().includes(NOTIFY_POLL))
  assert.equal(poll(0), DEFAULT_POLLMASK | POLLERR_POLLPRI)
})

test('a slow file holds up nobody, and its reply comes when it does', async () => {
  const { tree, root } = build()
  const gate = textLater()
  root.entries.set('slow', file(0o644, { read: () => gate.promise, write: async () => {} }))
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'slow')
  const fh = kernel.open(id, O_RDWR)
  const unique = kernel.request(OP.READ, id, readIn(fh, 0, 10))
  const other = kernel.lookup(1, 'value')
  assert.equal(kernel.read(other, kernel.open(other, O_RDONLY), 0, 10), 'one\n')
  assert.equal(kernel.answered(unique), false)
  gate.resolve('slow\n')
  assert.equal((await kernel.reply(unique)).body.toString(), 'slow\n')
  const written = kernel.request(OP.WRITE, id, writeIn(fh, 0, 3), Buffer.from('abc'))
  assert.equal((await kernel.reply(written)).body.readUInt32LE(0), 3)
  assert.equal(kernel.session.held.calls, 0)
})

test('INTERRUPT aborts a call and answers EINTR; what it comes to afterwards nobody hears', async () => {
  const { tree, root } = build()
  const gate = textLater()
  let reason: unknown
  const read = async ({ signal }: { signal: AbortSignal }) => {
    signal.addEventListener('abort', () => (reason = signal.reason))
    return gate.promise
  }
  root.entries.set('slow', file(0o444, { read }))
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'slow')
  const fh = kernel.open(id, O_RDONLY)
  const unique = kernel.request(OP.READ, id, readIn(fh, 0, 10))
  kernel.request(OP.INTERRUPT, 0, u64(unique))
  assert.equal((await kernel.reply(unique)).error, EINTR)
  assert.equal((reason as ErrnoError).code, 'EINTR')
  kernel.request(OP.INTERRUPT, 0, u64(unique))
  kernel.request(OP.INTERRUPT, 0, u64(123456))
  const count = kernel.sent.length
  gate.resolve('too late\n')
  await gate.promise
  await new Promise(setImmediate)
  assert.equal(kernel.sent.length, count)
})

test('a slow call that fails is refused with its errno; what is no text is EIO', async () => {
  const { tree, root } = build()
  const fails = file(0o644, {
    read: async () => 5 as unknown as string,
    write: async () => {
      throw new ErrnoError('EBUSY', 'in use')
    },
  })
  root.entries.set('slow', fails)
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'slow')
  const fh = kernel.open(id, O_RDWR)
  const written = kernel.request(OP.WRITE, id, writeIn(fh, 0, 1), Buffer.from('x'))
  assert.equal((await kernel.reply(written)).error, EBUSY)
  const read = kernel.request(OP.READ, id, readIn(fh, 0, 10))
  assert.equal((await kernel.reply(read)).error, EIO)
})

test('calls under way are bounded, and all end with the session', async () => {
  const { tree, root } = build()
  let aborted = 0
  const write = (_: Uint8Array, { signal }: { signal: AbortSignal }) => {
    signal.addEventListener('abort', () => aborted++)
    return new Promise<void>(() => {})
  }
  root.entries.set('slow', file(0o200, { write }))
  const kernel = new Kernel(tree, MINOR)
  const id = kernel.lookup(1, 'slow')
  const fh = kernel.open(id, O_WRONLY)
  const send = () => kernel.request(OP.WRITE, id, writeIn(fh, 0, 1), Buffer.from('x'))
  for (let i = 0; i < MAX_PENDING_CALLS; i++) send()
  assert.equal(kernel.session.held.calls, MAX_PENDING_CALLS)
  assert.equal((await kernel.reply(send())).error, EBUSY)
  assert.equal(aborted, 1)
  kernel.session.close()
  assert.equal(aborted, MAX_PENDING_CALLS + 1)
  assert.equal(kernel.session.held.calls, 0)
  assert.equal(tree.listeners.size, 0)
})

test('a reply that reaches nobody leaves nothing behind', () => {
  const kernel = new Kernel(build().tree, MINOR)
  const id = kernel.lookup(1, 'value')
  const held = kernel.session.held
  kernel.deaf = true
  kernel.request(OP.LOOKUP, 1, text('directory'))
  kernel.request(OP.OPEN, id, u32(O_RDONLY, 0))
  kernel.request(OP.OPENDIR, 1, u32(0, 0))
  assert.deepEqual(kernel.session.held, held)
})

test('a LOOKUP that fails after all leaves nothing behind', () => {
  const { tree, root } = build()
  const broken = new TestDirectory()
  broken.names = () => {
    throw new TypeError('a bug')
  }
  root.entries.set('broken', broken)
  const kernel = new Kernel(tree, MINOR)
  const { held } = kernel.session
  assert.equal(kernel.refusal(OP.LOOKUP, 1, text('broken')), EIO)
  assert.deepEqual(kernel.session.held, held)
})

test('garbage is answered or ignored, and leaves the session as it was', () => {
  const { tree } = build()
  const kernel = new Kernel(tree, MINOR)
  const bytes = fc.uint8Array({ maxLength: 200 })
  const opcode = fc.oneof(fc.constantFrom(...Object.values(OP)), fc.nat(60))
  fc.assert(
    fc.property(opcode, fc.nat(8), bytes, (op, nodeid, body) => {
      if (op === OP.INIT) return
      kernel.sent.length = 0
      kernel.request(op, nodeid, body)
      assert.ok(kernel.sent.filter(({ unique }) => unique !== 0).length <= 1)
    }),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(bytes, (garbage) => kernel.session.receive(garbage, garbage.length)),
    { numRuns: 1000 },
  )
  const wrong = Buffer.concat([u32(41, OP.STATFS), u64(1000, 1), u32(0, 0, 0, 0)])
  kernel.session.receive(wrong, wrong.length)
  assert.deepEqual(kernel.sent.at(-1), { unique: 1000, error: EINVAL, body: Buffer.alloc(0) })
  const id = kernel.lookup(1, 'value')
  kernel.expect(OP.SETATTR, id, setattr({ mode: 0o644 }))
  assert.equal(kernel.read(id, kernel.open(id, O_RDONLY), 0, 10), 'one\n')
})

/** A text that comes when it is told to. */
function textLater(): { promise: Promise<string>; resolve: (text: string) => void } {
  let resolve!: (text: string) => void
  const promise = new Promise<string>((settle) => (resolve = settle))
  return { promise, resolve }
}

/** struct fuse_setattr_in; times in seconds. */
function setattr(values: {
  mode?: number
  uid?: number
  gid?: number
  size?: number
  atime?: number
  mtime?: number
}): Buffer {
  const body = Buffer.alloc(88)
  const keys = ['mode', 'uid', 'gid', 'size', 'atime', 'mtime'] as const
  const valid = keys.reduce((sum, key, bit) => sum + (values[key] === undefined ? 0 : 1 << bit), 0)
  body.writeUInt32LE(valid, 0)
  body.writeBigUInt64LE(BigInt(values.size ?? 0), 16)
  for (const [at, value] of [
    [0, values.atime ?? 0],
    [1, values.mtime ?? 0],
  ] as const) {
    body.writeBigInt64LE(BigInt(Math.floor(value)), 32 + 8 * at)
    body.writeUInt32LE((value - Math.floor(value)) * 1e9, 56 + 4 * at)
  }
  body.writeUInt32LE(values.mode ?? 0, 68)
  body.writeUInt32LE(values.uid ?? 0, 76)
  body.writeUInt32LE(values.gid ?? 0, 80)
  return body
}

/** struct fuse_dirent */
function entriesOf(listing: Buffer) {
  const entries: { name: string; next: number; type: number }[] = []
  for (let at = 0; at < listing.length;) {
    const length = listing.readUInt32LE(at + 16)
    entries.push({
      next: Number(listing.readBigUInt64LE(at + 8)),
      type: listing.readUInt32LE(at + 20),
      name: listing.toString('utf8', at + 24, at + 24 + length),
    })
    at += Math.ceil((24 + length) / 8) * 8
  }
  return entries
}
