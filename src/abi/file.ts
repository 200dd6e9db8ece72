/** <linux/falloc.h>, and of <linux/stat.h> what says how a file may be read past the page cache. */
import { struct } from '../lib/struct.ts'

export const FALLOC_FL_KEEP_SIZE = 0x01
export const FALLOC_FL_PUNCH_HOLE = 0x02
export const FALLOC_FL_ZERO_RANGE = 0x10

export const AT_EMPTY_PATH = 0x1000
/** Linux 6.1; before, the fields below are 0. */
export const STATX_DIOALIGN = 0x2000

/** As far as we read it; `stx_spare3` follows. */
export const Statx = struct('statx', 160, {
  stx_mask: 'u32',
  stx_blksize: 'u32',
  stx_attributes: 'u64',
  stx_nlink: 'u32',
  stx_uid: 'u32',
  stx_gid: 'u32',
  stx_mode: 'u16',
  _pad0: 'u16',
  stx_ino: 'u64',
  stx_size: 'u64',
  stx_blocks: 'u64',
  stx_attributes_mask: 'u64',
  _pad1: 'u64', // four times of 16 bytes
  _pad2: 'u64',
  _pad3: 'u64',
  _pad4: 'u64',
  _pad5: 'u64',
  _pad6: 'u64',
  _pad7: 'u64',
  _pad8: 'u64',
  stx_rdev_major: 'u32',
  stx_rdev_minor: 'u32',
  stx_dev_major: 'u32',
  stx_dev_minor: 'u32',
  stx_mnt_id: 'u64',
  stx_dio_mem_align: 'u32',
  stx_dio_offset_align: 'u32',
})
