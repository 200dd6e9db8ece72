/** What the kernel asks of a node by its number: names in it, that it may be forgotten, its attributes, where a link leads. */
import * as fuse from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import { pathOf } from './inode-table.ts'
import { PAGE_SIZE } from './open-file.ts'
import { type Answer, type Body, NO_REPLY, type Served } from './operation.ts'
import type { Request } from './request.ts'

/** Longest name that sysfs would have; the kernel lets longer ones through. */
const NAME_MAX = 255

const forgetOne = fuse.FuseForgetOne.view()

export function lookup(request: Request, { table, reply, onUnheard }: Served): Answer {
  const directory = table.directory(request.nodeid)
  const name = request.name()
  const inode = Buffer.byteLength(name) > NAME_MAX ? undefined : table.find(directory, name)
  if (inode === undefined)
    throw new ErrnoError('ENOENT', `${pathOf(directory)}: nothing named ${JSON.stringify(name)}`)
  table.acquire(inode)
  onUnheard(() => table.forget(inode.id, 1))
  return reply.putEntry(inode)
}

export function forget(
  { nlookup }: Body<typeof fuse.FuseForgetIn>,
  { nodeid }: Request,
  { table }: Served,
): Answer {
  table.forget(nodeid, nlookup)
  return NO_REPLY
}

export function forgetMany(
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

export function getAttributes({ nodeid }: Request, { reply, table }: Served): Answer {
  return reply.putAttributes(table.get(nodeid))
}

/** The kernel has checked who may. A new size is taken for done, as by sysfs: shells truncate what they write to. */
export function setAttributes(
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

export function readLink(request: Request, { table, reply }: Served): Answer {
  const inode = table.get(request.nodeid)
  if (inode.node.kind !== 'link') throw new ErrnoError('EINVAL', `${pathOf(inode)}: no link`)
  return reply.putBytes(Buffer.from(inode.node.target))
}

export function statFileSystem(_: Request, { reply }: Served): Answer {
  const length = reply.blank(fuse.FuseKstatfs.size)
  reply.statfs.bsize = PAGE_SIZE
  reply.statfs.frsize = PAGE_SIZE
  reply.statfs.namelen = NAME_MAX
  return length
}
