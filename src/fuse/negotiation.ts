/** INIT: which version both speak, and what the kernel may do. */
import * as fuse from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import { PAGE_SIZE } from './open-file.ts'
import type { Answer, Body, Served } from './operation.ts'
import { MAX_PAGES } from './reply.ts'
import type { Request } from './request.ts'

/** Least version that we speak: older kernels than Linux 4.20 have layouts of their own. */
const MIN_MINOR = 28
const OUR_MINOR = 45
/**
 * Most bytes that come in one WRITE. More than a page, so that a longer write(2) is answered short, as sysfs does, and is
 * not split into several writes that all reach the file.
 */
const MAX_WRITE = 2 * PAGE_SIZE
const MAX_BACKGROUND = 64

/**
 * Not READDIRPLUS, by which a listing answers LOOKUP too: the kernel dates what it so remembers by when its reader gets round to
 * it, not by when it asked (Linux 6.18, fuse_direntplus_link), and what has gone in between is there again for some ms.
 */
const FLAGS =
  fuse.FUSE_ATOMIC_O_TRUNC |
  fuse.FUSE_BIG_WRITES |
  fuse.FUSE_PARALLEL_DIROPS |
  fuse.FUSE_MAX_PAGES |
  fuse.FUSE_CACHE_SYMLINKS
export function init(body: Body<typeof fuse.FuseInitIn>, _: Request, served: Served): Answer {
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
  served.reply.entrySeconds = served.invalidation.negotiated(minor)
  out.flags = flags & FLAGS
  out.max_background = MAX_BACKGROUND
  out.congestion_threshold = MAX_BACKGROUND
  out.max_write = MAX_WRITE
  out.time_gran = 1
  out.max_pages = MAX_PAGES
  return length
}
