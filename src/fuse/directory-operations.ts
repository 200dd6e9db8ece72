/** Directories, open. */
import * as fuse from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import { OpenDirectory } from './open-directory.ts'
import { PAGE_SIZE } from './open-file.ts'
import type { Answer, Body, Served } from './operation.ts'
import { direntSize, MAX_PAGES } from './reply.ts'
import type { Request } from './request.ts'

export function openDirectory(
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

export function readDirectory(
  { fh, offset, size }: Body<typeof fuse.FuseReadIn>,
  _: Request,
  { reply, directories }: Served,
): Answer {
  const directory = directories.get(fh)
  if (directory === undefined) throw new ErrnoError('EBADF', `directory handle ${fh}: not open`)
  const room = Math.min(size, MAX_PAGES * PAGE_SIZE)
  let length = 0
  directory.list(offset, ({ name, inode, next }) => {
    const text = Buffer.from(name)
    if (length + direntSize(text) > room) return false
    length += reply.putDirent(text, inode, next, length)
    return true
  })
  return length
}

export function releaseDirectory(
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
