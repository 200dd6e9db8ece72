/** <linux/fuse.h>: the protocol between the kernel and who serves a FUSE mount, version 7.45. */
import { struct } from '../lib/struct.ts'

export const FUSE_KERNEL_VERSION = 7
export const FUSE_ROOT_ID = 1
/** Least that a read of /dev/fuse must have room for. */
export const FUSE_MIN_READ_BUFFER = 8192

export const FUSE_LOOKUP = 1
export const FUSE_FORGET = 2 // no reply
export const FUSE_GETATTR = 3
export const FUSE_SETATTR = 4
export const FUSE_READLINK = 5
export const FUSE_SYMLINK = 6
export const FUSE_MKNOD = 8
export const FUSE_MKDIR = 9
export const FUSE_UNLINK = 10
export const FUSE_RMDIR = 11
export const FUSE_RENAME = 12
export const FUSE_LINK = 13
export const FUSE_OPEN = 14
export const FUSE_READ = 15
export const FUSE_WRITE = 16
export const FUSE_STATFS = 17
export const FUSE_RELEASE = 18
export const FUSE_INIT = 26
export const FUSE_OPENDIR = 27
export const FUSE_READDIR = 28
export const FUSE_RELEASEDIR = 29
export const FUSE_FSYNCDIR = 30
export const FUSE_CREATE = 35
export const FUSE_INTERRUPT = 36 // no reply
export const FUSE_DESTROY = 38
export const FUSE_IOCTL = 39
export const FUSE_POLL = 40
export const FUSE_BATCH_FORGET = 42 // no reply
export const FUSE_FALLOCATE = 43
export const FUSE_RENAME2 = 45

export const FuseInHeader = struct('fuse_in_header', 40, {
  len: 'u32',
  opcode: 'u32',
  unique: 'size',
  nodeid: 'size',
  uid: 'u32',
  gid: 'u32',
  pid: 'u32',
  _pad0: 'u32', // of which the first half tells of extensions that we do not ask for
})

export const FuseOutHeader = struct('fuse_out_header', 16, {
  len: 'u32',
  error: 's32', // 0 or a negative errno; of a notification, its code
  unique: 'size', // 0 of a notification
})

export const FuseInitIn = struct('fuse_init_in', 16, {
  major: 'u32',
  minor: 'u32',
  max_readahead: 'u32',
  flags: 'u32',
})
export const FUSE_ATOMIC_O_TRUNC = 1 << 3
export const FUSE_BIG_WRITES = 1 << 5
export const FUSE_PARALLEL_DIROPS = 1 << 18
export const FUSE_MAX_PAGES = 1 << 22
export const FUSE_CACHE_SYMLINKS = 1 << 23

export const FuseInitOut = struct('fuse_init_out', 64, {
  major: 'u32',
  minor: 'u32',
  max_readahead: 'u32',
  flags: 'u32',
  max_background: 'u16',
  congestion_threshold: 'u16',
  max_write: 'u32',
  time_gran: 'u32',
  max_pages: 'u16',
  map_alignment: 'u16',
  flags2: 'u32',
  _pad0: 'u32',
  _pad1: 'u32',
  _pad2: 'u32',
  _pad3: 'u32',
  _pad4: 'u32',
  _pad5: 'u32',
  _pad6: 'u32',
})

const ATTR = {
  ino: 'size',
  size: 'size',
  blocks: 'size',
  atime: 'size', // seconds
  mtime: 'size',
  ctime: 'size',
  atimensec: 'u32',
  mtimensec: 'u32',
  ctimensec: 'u32',
  mode: 'u32',
  nlink: 'u32',
  uid: 'u32',
  gid: 'u32',
  rdev: 'u32',
  blksize: 'u32',
  flags: 'u32',
} as const
export const FuseAttr = struct('fuse_attr', 88, ATTR)

/** Up to `attr`, which a {@link FuseAttr} follows as. */
export const FuseEntryOut = struct('fuse_entry_out', 40, {
  nodeid: 'size',
  generation: 'size',
  entry_valid: 'size', // seconds for which the kernel need not look the name up again
  attr_valid: 'size',
  entry_valid_nsec: 'u32',
  attr_valid_nsec: 'u32',
})

/** Up to `attr`, which a {@link FuseAttr} follows as. */
export const FuseAttrOut = struct('fuse_attr_out', 16, {
  attr_valid: 'size',
  attr_valid_nsec: 'u32',
  _pad0: 'u32',
})

export const FuseForgetIn = struct('fuse_forget_in', 8, { nlookup: 'size' })
export const FuseForgetOne = struct('fuse_forget_one', 16, { nodeid: 'size', nlookup: 'size' })
/** So many {@link FuseForgetOne} follow. */
export const FuseBatchForgetIn = struct('fuse_batch_forget_in', 8, { count: 'u32', _pad0: 'u32' })

export const FuseSetattrIn = struct('fuse_setattr_in', 88, {
  valid: 'u32',
  _pad0: 'u32',
  fh: 'size',
  size: 'u64',
  lock_owner: 'u64',
  atime: 'u64', // signed seconds
  mtime: 'u64',
  ctime: 'u64',
  atimensec: 'u32',
  mtimensec: 'u32',
  ctimensec: 'u32',
  mode: 'u32',
  _pad1: 'u32',
  uid: 'u32',
  gid: 'u32',
  _pad2: 'u32',
})
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8

export const FuseMknodIn = struct('fuse_mknod_in', 16, {
  mode: 'u32',
  rdev: 'u32',
  umask: 'u32',
  _pad0: 'u32',
})
export const FuseOpenIn = struct('fuse_open_in', 8, { flags: 'u32', open_flags: 'u32' })
export const FuseOpenOut = struct('fuse_open_out', 16, {
  fh: 'size',
  open_flags: 'u32',
  _pad0: 'u32',
})
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6

export const FuseReleaseIn = struct('fuse_release_in', 24, {
  fh: 'size',
  flags: 'u32',
  release_flags: 'u32',
  lock_owner: 'u64',
})

/** Of READ and READDIR. */
export const FuseReadIn = struct('fuse_read_in', 40, {
  fh: 'size',
  offset: 'size',
  size: 'u32',
  read_flags: 'u32',
  lock_owner: 'u64',
  flags: 'u32',
  _pad0: 'u32',
})

/** The bytes follow. */
export const FuseWriteIn = struct('fuse_write_in', 40, {
  fh: 'size',
  offset: 'u64',
  size: 'u32',
  write_flags: 'u32',
  lock_owner: 'u64',
  flags: 'u32',
  _pad0: 'u32',
})
export const FuseWriteOut = struct('fuse_write_out', 8, { size: 'u32', _pad0: 'u32' })

export const FuseKstatfs = struct('fuse_kstatfs', 80, {
  blocks: 'size',
  bfree: 'size',
  bavail: 'size',
  files: 'size',
  ffree: 'size',
  bsize: 'u32',
  namelen: 'u32',
  frsize: 'u32',
  _pad0: 'u32',
  _pad1: 'u32',
  _pad2: 'u32',
  _pad3: 'u32',
  _pad4: 'u32',
  _pad5: 'u32',
  _pad6: 'u32',
})

export const FuseInterruptIn = struct('fuse_interrupt_in', 8, { unique: 'size' })

export const FusePollIn = struct('fuse_poll_in', 24, {
  fh: 'size',
  kh: 'size', // by which the kernel wants to be told
  flags: 'u32',
  events: 'u32',
})
export const FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0
export const FusePollOut = struct('fuse_poll_out', 8, { revents: 'u32', _pad0: 'u32' })

/** The name follows, and padding up to a multiple of 8. */
export const FuseDirent = struct('fuse_dirent', 24, {
  ino: 'size',
  off: 'size', // where to go on after it
  namelen: 'u32',
  type: 'u32',
})

export const FUSE_NOTIFY_POLL = 1
export const FUSE_NOTIFY_INVAL_INODE = 2
/** All that the kernel has learnt by LOOKUP is to be looked up again; since 7.44 (Linux 6.16). */
export const FUSE_NOTIFY_INC_EPOCH = 8
/** Nodes that nobody uses are to be forgotten; since 7.45 (Linux 6.18). */
export const FUSE_NOTIFY_PRUNE = 9

export const FuseNotifyPollWakeupOut = struct('fuse_notify_poll_wakeup_out', 8, { kh: 'size' })
export const FuseNotifyInvalInodeOut = struct('fuse_notify_inval_inode_out', 24, {
  ino: 'size',
  off: 'u64', // signed; negative: no data, only the attributes
  len: 'u64',
})
/** So many numbers of nodes follow, 8 bytes each. */
export const FuseNotifyPruneOut = struct('fuse_notify_prune_out', 16, {
  count: 'u32',
  _pad0: 'u32',
  spare: 'u64',
})
