/**
 * What the kernel may ask for, as a table.
 *
 * Whatever would change which entries there are is refused as sysfs refuses it. What is not in the table is ENOSYS, which
 * the kernel takes for "never ask again" where it can do without: FLUSH, FSYNC, ACCESS, LSEEK, COPY_FILE_RANGE, extended
 * attributes and TMPFILE.
 */
import { constants } from 'node:fs'
import * as fuse from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import { openDirectory, readDirectory, releaseDirectory } from './directory-operations.ts'
import { open, poll, read, release, write } from './file-operations.ts'
import { init } from './negotiation.ts'
import * as nodes from './node-operations.ts'
import {
  type Answer,
  bare,
  type Body,
  NO_REPLY,
  type Operation,
  operation,
  refused,
  type Served,
} from './operation.ts'
import type { Request } from './request.ts'

export const OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  [fuse.FUSE_INIT, operation('INIT', fuse.FuseInitIn, init)],
  [fuse.FUSE_DESTROY, bare('DESTROY', () => 0)],
  [fuse.FUSE_LOOKUP, bare('LOOKUP', nodes.lookup)],
  [fuse.FUSE_FORGET, operation('FORGET', fuse.FuseForgetIn, nodes.forget)],
  [fuse.FUSE_BATCH_FORGET, operation('BATCH_FORGET', fuse.FuseBatchForgetIn, nodes.forgetMany)],
  [fuse.FUSE_GETATTR, bare('GETATTR', nodes.getAttributes)],
  [fuse.FUSE_SETATTR, operation('SETATTR', fuse.FuseSetattrIn, nodes.setAttributes)],
  [fuse.FUSE_READLINK, bare('READLINK', nodes.readLink)],
  [fuse.FUSE_STATFS, bare('STATFS', nodes.statFileSystem)],
  [fuse.FUSE_OPEN, operation('OPEN', fuse.FuseOpenIn, open)],
  [fuse.FUSE_READ, operation('READ', fuse.FuseReadIn, read)],
  [fuse.FUSE_WRITE, operation('WRITE', fuse.FuseWriteIn, write)],
  [fuse.FUSE_POLL, operation('POLL', fuse.FusePollIn, poll)],
  [fuse.FUSE_RELEASE, operation('RELEASE', fuse.FuseReleaseIn, release)],
  [fuse.FUSE_OPENDIR, bare('OPENDIR', openDirectory)],
  [fuse.FUSE_READDIR, operation('READDIR', fuse.FuseReadIn, readDirectory)],
  [fuse.FUSE_RELEASEDIR, operation('RELEASEDIR', fuse.FuseReleaseIn, releaseDirectory)],
  [fuse.FUSE_INTERRUPT, operation('INTERRUPT', fuse.FuseInterruptIn, interrupt)],
  [fuse.FUSE_CREATE, refused('CREATE', 'EACCES')],
  [fuse.FUSE_MKNOD, operation('MKNOD', fuse.FuseMknodIn, makeNode)],
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

function interrupt(
  { unique }: Body<typeof fuse.FuseInterruptIn>,
  _: Request,
  { pending }: Served,
): Answer {
  pending.interrupt(unique)
  return NO_REPLY
}

/** Regular files are as much of a refusal as those that open(2) makes; the rest are another. */
function makeNode({ mode }: Body<typeof fuse.FuseMknodIn>): Answer {
  const isRegular = (mode & constants.S_IFMT) === constants.S_IFREG
  throw new ErrnoError(isRegular ? 'EACCES' : 'EPERM', 'MKNOD: not possible')
}
