/** Files, open. */
import * as fuse from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import { O_ACCMODE, O_DIRECT, O_RDONLY, O_WRONLY } from '../os/fd.ts'
import type { Inode } from './inode.ts'
import { pathOf } from './inode-table.ts'
import { type FileInode, OpenFile, PAGE_SIZE } from './open-file.ts'
import type { Answer, Body, Served } from './operation.ts'
import type { Request } from './request.ts'

export function open(
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

export function read(
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

export function write(
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

export function poll(
  { fh, kh, flags }: Body<typeof fuse.FusePollIn>,
  _: Request,
  served: Served,
): Answer {
  const { reply } = served
  const waits = (flags & fuse.FUSE_POLL_SCHEDULE_NOTIFY) !== 0
  const events = fileOf(served, fh).poll(waits ? kh : undefined)
  const length = reply.blank(fuse.FusePollOut.size)
  reply.polled.revents = events
  return length
}

export function release(
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
