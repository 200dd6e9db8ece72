/**
 * What the kernel may ask for, as a table.
 *
 * Whatever would change which entries there are is refused as sysfs refuses it. What is not in the table is ENOSYS, which
 * the kernel takes for "never ask again" where it can do without: FLUSH, FSYNC, ACCESS, LSEEK, COPY_FILE_RANGE, extended
 * attributes and TMPFILE.
 */
import { constants } from 'node:fs'
import * as fuse from '../abi/fuse.ts'
import { ErrnoError, type ErrnoCode } from '../lib/errno.ts'
import type { Fields, Struct, View } from '../lib/struct.ts'
import { O_ACCMODE, O_DIRECT, O_RDONLY, O_WRONLY } from '../os/fd.ts'
import type { Inode } from './inode.ts'
import { type InodeTable, pathOf } from './inode-table.ts'
import type { Invalidation } from './invalidation.ts'
import { OpenDirectory } from './open-directory.ts'
import { type FileInode, OpenFile, PAGE_SIZE } from './open-file.ts'
import type { Call, PendingCalls } from './pending-calls.ts'
import { direntSize, MAX_PAGES, type Reply } from './reply.ts'
import type { Request } from './request.ts'

/** Longest name that sysfs would have; the kernel lets longer ones through. */
const NAME_MAX = 255
/** Least version that we speak: older kernels than Linux 4.20 have layouts of their own. */
const MIN_MINOR = 28
const OUR_MINOR = 45
/**
 * Most bytes that come in one WRITE. More than a page, so that a longer write(2) is answered short, as sysfs does, and is
 * not split into several writes that all reach the file.
 */
export const MAX_WRITE = 2 * PAGE_SIZE
const MAX_BACKGROUND = 64

const FLAGS =
  fuse.FUSE_ATOMIC_O_TRUNC |
  fuse.FUSE_BIG_WRITES |
  fuse.FUSE_PARALLEL_DIROPS |
  fuse.FUSE_MAX_PAGES |
  fuse.FUSE_CACHE_SYMLINKS
/** Listings that answer LOOKUP too, where that is remembered at all. */
const LISTING_FLAGS = fuse.FUSE_DO_READDIRPLUS | fuse.FUSE_READDIRPLUS_AUTO

/** What operations work on. */
export interface Served {
  readonly table: InodeTable
  readonly reply: Reply
  readonly invalidation: Invalidation
  readonly pending: PendingCalls
  readonly files: Map<number, OpenFile>
  readonly directories: Map<number, OpenDirectory>
  readonly newHandle: () => number
  /** What is to be undone if the reply reaches nobody. */
  readonly onUnheard: (undo: () => void) => void
  readonly complain: (message: string) => void
}

/** The length of a body that has been built in `reply`; that there is no reply; or what will build a body later. */
export type Answer =
  | number
  | typeof NO_REPLY
  | { readonly call: Call; readonly body: Promise<() => number> }
export const NO_REPLY = 'no reply'

export interface Operation {
  readonly name: string
  run(request: Request, served: Served): Answer
}

function operation<F extends Fields>(
  name: string,
  layout: Struct<F>,
  run: (body: View<F>, request: Request, served: Served) => Answer,
): Operation {
  const view = layout.view()
  return {
    name,
    run: (request, served) => run(request.body(view, layout.size), request, served),
  }
}

function bare(name: string, run: (request: Request, served: Served) => Answer): Operation {
  return { name, run }
}

/** What sysfs has no operation for. */
function refused(name: string, code: ErrnoCode): Operation {
  return {
    name,
    run(request, { table }) {
      throw new ErrnoError(code, `${name} in ${pathOf(table.get(request.nodeid))}: not possible`)
    },
  }
}

const forgetOne = fuse.FuseForgetOne.view()

export const OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  [fuse.FUSE_INIT, operation('INIT', fuse.FuseInitIn, init)],
  [fuse.FUSE_DESTROY, bare('DESTROY', () => 0)],
  [fuse.FUSE_LOOKUP, bare('LOOKUP', lookup)],
  [
    fuse.FUSE_FORGET,
    operation('FORGET', fuse.FuseForgetIn, (body, { nodeid }, { table }) => {
      table.forget(nodeid, body.nlookup)
      return NO_REPLY
    }),
  ],
  [fuse.FUSE_BATCH_FORGET, operation('BATCH_FORGET', fuse.FuseBatchForgetIn, forgetMany)],
  [
    fuse.FUSE_GETATTR,
    bare('GETATTR', ({ nodeid }, { reply, table }) => reply.putAttributes(table.get(nodeid))),
  ],
  [fuse.FUSE_SETATTR, operation('SETATTR', fuse.FuseSetattrIn, setAttributes)],
  [fuse.FUSE_READLINK, bare('READLINK', readLink)],
  [fuse.FUSE_STATFS, bare('STATFS', statFileSystem)],
  [fuse.FUSE_OPEN, operation('OPEN', fuse.FuseOpenIn, open)],
  [fuse.FUSE_READ, operation('READ', fuse.FuseReadIn, read)],
  [fuse.FUSE_WRITE, operation('WRITE', fuse.FuseWriteIn, write)],
  [fuse.FUSE_POLL, operation('POLL', fuse.FusePollIn, poll)],
  [fuse.FUSE_RELEASE, operation('RELEASE', fuse.FuseReleaseIn, release)],
  [fuse.FUSE_OPENDIR, bare('OPENDIR', openDirectory)],
  [
    fuse.FUSE_READDIR,
    operation('READDIR', fuse.FuseReadIn, (body, _, served) => list(body, served, false)),
  ],
  [
    fuse.FUSE_READDIRPLUS,
    operation('READDIRPLUS', fuse.FuseReadIn, (body, _, served) => list(body, served, true)),
  ],
  [fuse.FUSE_RELEASEDIR, operation('RELEASEDIR', fuse.FuseReleaseIn, releaseDirectory)],
  [
    fuse.FUSE_INTERRUPT,
    operation('INTERRUPT', fuse.FuseInterruptIn, ({ unique }, _, { pending }) => {
      pending.interrupt(unique)
      return NO_REPLY
    }),
  ],
  [fuse.FUSE_CREATE, refused('CREATE', 'EACCES')],
  [fuse.FUSE_MKNOD, operation('MKNOD', fuse.FuseOpenIn, makeNode)],
  [fuse.FUSE_MKDIR, refused('MKDIR', 'EPERM')],
  [fuse.FUSE_SYMLINK, refused('SYMLINK', 'EPERM')],
  [fuse.FUSE_LINK, refused('LINK', 'EPERM')],
  [fuse.FUSE_UNLINK, refused('UNLINK', 'EPERM')],
  [fuse.FUSE_RMDIR, refused('RMDIR', 'EPERM')],
  [fuse.FUSE_RENAME, refused('RENAME', 'EPERM')],
  [fuse.FUSE_RENAME2, refused('RENAME2', 'EPERM')],
  [fuse.FUSE_IOCTL, refused('IOCTL', 'ENOTTY')],
  [fuse.FUSE_FALLOCATE, refused('FALLOCATE', 'EINVAL')],
  [fuse.FUSE_FSYNCDIR, refused('FSYNCDIR', 'EINVAL')],
])

type Body<F> = F extends Struct<infer G> ? View<G> : never

function init(body: Body<typeof fuse.FuseInitIn>, _: Request, served: Served): Answer {
  const { major, minor, flags } = body
  const { init: out } = served.reply
  const length = served.reply.blank(fuse.FuseInitOut.size)
  out.major = fuse.FUSE_KERNEL_VERSION
  out.minor = OUR_MINOR
  if (major > fuse.FUSE_KERNEL_VERSION) return length // it asks again, in our version
  if (major < fuse.FUSE_KERNEL_VERSION || minor < MIN_MINOR) {
    const ours = `${fuse.FUSE_KERNEL_VERSION}.${MIN_MINOR}`
    throw new ErrnoError('EPROTO', `FUSE ${major}.${minor}: we speak ${ours} and later`)
  }
  const seconds = served.invalidation.negotiated(minor)
  served.reply.entrySeconds = seconds
  out.flags = flags & (seconds > 0 ? FLAGS | LISTING_FLAGS : FLAGS)
  out.max_background = MAX_BACKGROUND
  out.congestion_threshold = MAX_BACKGROUND
  out.max_write = MAX_WRITE
  out.time_gran = 1
  out.max_pages = MAX_PAGES
  return length
}

function lookup(request: Request, { table, reply, onUnheard }: Served): Answer {
  const directory = table.directory(request.nodeid)
  const name = request.name()
  const inode = Buffer.byteLength(name) > NAME_MAX ? undefined : table.find(directory, name)
  if (inode === undefined)
    throw new ErrnoError('ENOENT', `${pathOf(directory)}: nothing named ${JSON.stringify(name)}`)
  table.acquire(inode)
  onUnheard(() => table.forget(inode.id, 1))
  return reply.putEntry(inode)
}

function forgetMany(
  body: Body<typeof fuse.FuseBatchForgetIn>,
  request: Request,
  { table }: Served,
): Answer {
  const { count } = body
  for (let i = 0; i < count; i++) {
    const offset = fuse.FuseBatchForgetIn.size + i * fuse.FuseForgetOne.size
    const one = request.body(forgetOne, fuse.FuseForgetOne.size, offset)
    table.forget(one.nodeid, one.nlookup)
  }
  return NO_REPLY
}

/** The kernel has checked who may. A new size is taken for done, as by sysfs: shells truncate what they write to. */
function setAttributes(
  body: Body<typeof fuse.FuseSetattrIn>,
  request: Request,
  { table, reply }: Served,
): Answer {
  const inode = table.get(request.nodeid)
  const { valid } = body
  const now = Date.now()
  if (valid & fuse.FATTR_MODE) inode.mode = body.mode & 0o7777
  if (valid & fuse.FATTR_UID) inode.uid = body.uid
  if (valid & fuse.FATTR_GID) inode.gid = body.gid
  if (valid & fuse.FATTR_ATIME)
    inode.atime = valid & fuse.FATTR_ATIME_NOW ? now : milliseconds(body.atime, body.atimensec)
  if (valid & fuse.FATTR_MTIME)
    inode.mtime = valid & fuse.FATTR_MTIME_NOW ? now : milliseconds(body.mtime, body.mtimensec)
  inode.ctime = now
  return reply.putAttributes(inode)
}

/** Times before 1970 are 1970, and those that no Date can hold the last that one can. */
function milliseconds(seconds: bigint, nanoseconds: number): number {
  const ms = Number(BigInt.asIntN(64, seconds)) * 1000 + nanoseconds / 1e6
  return Math.min(Math.max(ms, 0), 8.64e15)
}

function readLink(request: Request, { table, reply }: Served): Answer {
  const inode = table.get(request.nodeid)
  if (inode.node.kind !== 'link') throw new ErrnoError('EINVAL', `${pathOf(inode)}: no link`)
  return reply.putBytes(Buffer.from(inode.node.target))
}

function statFileSystem(_: Request, { reply }: Served): Answer {
  const length = reply.blank(fuse.FuseKstatfs.size)
  reply.statfs.bsize = PAGE_SIZE
  reply.statfs.frsize = PAGE_SIZE
  reply.statfs.namelen = NAME_MAX
  return length
}

function open(
  { flags }: Body<typeof fuse.FuseOpenIn>,
  request: Request,
  { table, files, reply, newHandle, onUnheard, invalidation, complain }: Served,
): Answer {
  const inode = table.get(request.nodeid)
  checkOpen(inode, flags)
  const fh = newHandle()
  files.set(fh, new OpenFile(inode, (handle) => invalidation.wake(handle), complain))
  onUnheard(() => files.delete(fh))
  const length = reply.blank(fuse.FuseOpenOut.size)
  reply.opened.fh = fh
  // Every read and write is the file's; writes of several openers do not wait for one another.
  reply.opened.open_flags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
  return length
}

/** As kernfs does: a file opens only in the directions that it has a method for and somebody a permission, even for root. */
function checkOpen(inode: Inode, flags: number): asserts inode is FileInode {
  const { node } = inode
  const path = pathOf(inode)
  if (node.kind !== 'file') throw new ErrnoError('EINVAL', `${path}: no file`)
  if (!inode.alive) throw new ErrnoError('ENODEV', `${path}: gone`)
  const access = flags & O_ACCMODE
  if (access !== O_WRONLY && (node.read === undefined || (inode.mode & 0o444) === 0))
    throw new ErrnoError('EACCES', `${path}: cannot be read`)
  if (access !== O_RDONLY && (node.write === undefined || (inode.mode & 0o222) === 0))
    throw new ErrnoError('EACCES', `${path}: cannot be written`)
  if ((flags & O_DIRECT) !== 0) throw new ErrnoError('EINVAL', `${path}: knows no O_DIRECT`)
}

function fileOf({ files }: Served, fh: number): OpenFile {
  const file = files.get(fh)
  if (file === undefined) throw new ErrnoError('EBADF', `file handle ${fh}: not open`)
  return file
}

function read(
  { fh, offset, size }: Body<typeof fuse.FuseReadIn>,
  request: Request,
  served: Served,
): Answer {
  const { reply } = served
  const call = request.caller()
  const content = fileOf(served, fh).read(offset, size, call)
  return content instanceof Promise
    ? { call, body: content.then((later) => () => reply.putBytes(later)) }
    : reply.putBytes(content)
}

function write(
  { fh, size }: Body<typeof fuse.FuseWriteIn>,
  request: Request,
  served: Served,
): Answer {
  const { reply } = served
  const call = request.caller()
  const bytes = request.copy(fuse.FuseWriteIn.size, size, PAGE_SIZE)
  const { length } = bytes // what has become of it when it is written is the file's affair
  const answer = () => {
    const body = reply.blank(fuse.FuseWriteOut.size)
    reply.written.size = length
    return body
  }
  const done = fileOf(served, fh).write(bytes, call)
  return done === undefined ? answer() : { call, body: done.then(() => answer) }
}

function poll({ fh, kh, flags }: Body<typeof fuse.FusePollIn>, _: Request, served: Served): Answer {
  const { reply } = served
  const waits = (flags & fuse.FUSE_POLL_SCHEDULE_NOTIFY) !== 0
  const events = fileOf(served, fh).poll(waits ? kh : undefined)
  const length = reply.blank(fuse.FusePollOut.size)
  reply.polled.revents = events
  return length
}

function release(
  { fh }: Body<typeof fuse.FuseReleaseIn>,
  _: Request,
  { files, invalidation }: Served,
): Answer {
  const file = files.get(fh)
  if (file !== undefined) {
    files.delete(fh)
    file.close()
    invalidation.released(file.inode)
  }
  return 0
}

function releaseDirectory(
  { fh }: Body<typeof fuse.FuseReleaseIn>,
  _: Request,
  { directories, invalidation }: Served,
): Answer {
  const directory = directories.get(fh)
  if (directory !== undefined) {
    directories.delete(fh)
    invalidation.released(directory.inode)
  }
  return 0
}

function openDirectory(
  request: Request,
  { table, directories, reply, newHandle, onUnheard }: Served,
): Answer {
  const inode = table.directory(request.nodeid)
  const fh = newHandle()
  directories.set(fh, new OpenDirectory(inode, table))
  onUnheard(() => directories.delete(fh))
  const length = reply.blank(fuse.FuseOpenOut.size)
  reply.opened.fh = fh
  return length
}

/** @param plus each entry comes with what LOOKUP would say of it, and counts as looked up */
function list(
  { fh, offset, size }: Body<typeof fuse.FuseReadIn>,
  { table, reply, directories }: Served,
  plus: boolean,
): Answer {
  const directory = directories.get(fh)
  if (directory === undefined) throw new ErrnoError('EBADF', `directory handle ${fh}: not open`)
  const room = Math.min(size, MAX_PAGES * PAGE_SIZE)
  const entrySize = plus ? fuse.FuseEntryOut.size + fuse.FuseAttr.size : 0
  let length = 0
  directory.list(offset, ({ name, inode, next }) => {
    const text = Buffer.from(name)
    if (length + entrySize + direntSize(text) > room) return false
    const isSelfOrParent = name === '.' || name === '..'
    if (plus) {
      if (!isSelfOrParent) table.acquire(inode)
      length += reply.putEntry(inode, length)
    }
    length += reply.putDirent(text, inode, next, length)
    return true
  })
  return length
}

/** Regular files are as much of a refusal as those that open(2) makes; the rest are another. */
function makeNode({ flags: mode }: Body<typeof fuse.FuseOpenIn>): Answer {
  const isRegular = (mode & constants.S_IFMT) === constants.S_IFREG
  throw new ErrnoError(isRegular ? 'EACCES' : 'EPERM', 'MKNOD: not possible')
}
