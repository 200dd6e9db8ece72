/** One buffer that all replies are built in, and the layouts that more than one kind of reply is made of. */
import * as fuse from '../abi/fuse.ts'
import { type Inode } from './inode.ts'
import { isDirectory, type InodeTable } from './inode-table.ts'
import { PAGE_SIZE } from './open-file.ts'

/** Pages of the largest reply: a listing of a thousand names takes three of these. */
export const MAX_PAGES = 16

/** Where what answers the request begins, after the header. */
const BODY = fuse.FuseOutHeader.size
const S_IFDIR = 0o040000
const S_IFREG = 0o100000
const S_IFLNK = 0o120000
const FILE_TYPE = { directory: S_IFDIR, file: S_IFREG, link: S_IFLNK } as const
/** d_type of readdir(3) is the type in the mode, but for the permissions. */
const TYPE_SHIFT = 12
/** How long attributes stay right unless we say otherwise, which we do when those of a directory change: see invalidation.ts. */
const ATTR_SECONDS = 60

export class Reply {
  readonly bytes = new Uint8Array(BODY + MAX_PAGES * PAGE_SIZE)
  readonly view = new DataView(this.bytes.buffer)
  readonly init = fuse.FuseInitOut.view().aim(this.view, BODY)
  readonly opened = fuse.FuseOpenOut.view().aim(this.view, BODY)
  readonly written = fuse.FuseWriteOut.view().aim(this.view, BODY)
  readonly polled = fuse.FusePollOut.view().aim(this.view, BODY)
  readonly statfs = fuse.FuseKstatfs.view().aim(this.view, BODY)
  /** How long a name stays what it is, as far as the kernel is told, seconds. */
  entrySeconds = 0
  readonly #table: InodeTable
  readonly #header = fuse.FuseOutHeader.view().aim(this.view)
  readonly #entry = fuse.FuseEntryOut.view()
  readonly #attr = fuse.FuseAttr.view()
  readonly #attrOut = fuse.FuseAttrOut.view()
  readonly #dirent = fuse.FuseDirent.view()

  constructor(table: InodeTable) {
    this.#table = table
  }

  /** Completes a reply whose body is there. @returns its length */
  finish(unique: number, length: number): number {
    this.#header.len = BODY + length
    this.#header.error = 0
    this.#header.unique = unique
    return BODY + length
  }

  /** Builds a refusal. @param errno positive @returns its length */
  refuse(unique: number, errno: number): number {
    this.#header.len = BODY
    this.#header.error = -errno
    this.#header.unique = unique
    return BODY
  }

  /** Makes a body of `length` zeros, for fields to be set in. @returns `length` */
  blank(length: number): number {
    this.bytes.fill(0, BODY, BODY + length)
    return length
  }

  /** @returns the length of the body */
  putBytes(bytes: Uint8Array): number {
    this.bytes.set(bytes, BODY)
    return bytes.length
  }

  /** What LOOKUP answers. @returns its length */
  putEntry(inode: Inode): number {
    const entry = this.#entry.aim(this.view, BODY)
    entry.nodeid = inode.id
    entry.generation = 0
    entry.entry_valid = this.entrySeconds
    entry.attr_valid = ATTR_SECONDS
    entry.entry_valid_nsec = 0
    entry.attr_valid_nsec = 0
    this.#putAttr(inode, BODY + fuse.FuseEntryOut.size)
    return fuse.FuseEntryOut.size + fuse.FuseAttr.size
  }

  /** What GETATTR answers. @returns its length */
  putAttributes(inode: Inode): number {
    const out = this.#attrOut.aim(this.view, BODY)
    out.attr_valid = ATTR_SECONDS
    out.attr_valid_nsec = 0
    this.#putAttr(inode, BODY + fuse.FuseAttrOut.size)
    return fuse.FuseAttrOut.size + fuse.FuseAttr.size
  }

  /** One entry of a listing. @returns its length, padded */
  putDirent(name: Uint8Array, inode: Inode, next: number, offset: number): number {
    const dirent = this.#dirent.aim(this.view, BODY + offset)
    dirent.ino = inode.id
    dirent.off = next
    dirent.namelen = name.length
    dirent.type = FILE_TYPE[inode.node.kind] >>> TYPE_SHIFT
    const start = BODY + offset + fuse.FuseDirent.size
    this.bytes.set(name, start)
    const length = direntSize(name)
    this.bytes.fill(0, start + name.length, BODY + offset + length)
    return length
  }

  #putAttr(inode: Inode, offset: number): void {
    const attr = this.#attr.aim(this.view, offset)
    attr.ino = inode.id
    attr.size = sizeOf(inode)
    attr.blocks = 0
    attr.atime = secondsOf(inode.atime)
    attr.mtime = secondsOf(inode.mtime)
    attr.ctime = secondsOf(inode.ctime)
    attr.atimensec = nanosecondsOf(inode.atime)
    attr.mtimensec = nanosecondsOf(inode.mtime)
    attr.ctimensec = nanosecondsOf(inode.ctime)
    attr.mode = FILE_TYPE[inode.node.kind] | inode.mode
    attr.nlink = isDirectory(inode) ? 2 + this.#table.countSubdirectories(inode) : 1
    attr.uid = inode.uid
    attr.gid = inode.gid
    attr.rdev = 0
    attr.blksize = PAGE_SIZE
    attr.flags = 0
  }
}

/** Length of an entry of a listing with this name. */
export function direntSize(name: Uint8Array): number {
  return Math.ceil((fuse.FuseDirent.size + name.length) / 8) * 8
}

/** A file has a page whatever it says, as in sysfs; a link its target, or the kernel would cache it as empty. */
function sizeOf({ node }: Inode): number {
  switch (node.kind) {
    case 'file':
      return PAGE_SIZE
    case 'link':
      return Buffer.byteLength(node.target)
    case 'directory':
      return 0
  }
}

function secondsOf(ms: number): number {
  return Math.floor(ms / 1000)
}

function nanosecondsOf(ms: number): number {
  return Math.floor((ms - secondsOf(ms) * 1000) * 1e6)
}
