/** <linux/io_uring.h>, and the numbers of its system calls, which the C library has no functions for. */
import { struct } from '../lib/struct.ts'

/** As far as `resv`; `sq_off` and `cq_off` follow. */
export const IoUringParams = struct('io_uring_params', 40, {
  sq_entries: 'u32',
  cq_entries: 'u32',
  flags: 'u32',
  sq_thread_cpu: 'u32',
  sq_thread_idle: 'u32',
  features: 'u32',
  wq_fd: 'u32',
  _pad0: 'u32',
  _pad1: 'u64',
})
export const IORING_SETUP_COOP_TASKRUN = 1 << 8
export const IORING_FEAT_SINGLE_MMAP = 1 << 0
export const IORING_FEAT_NODROP = 1 << 1

export const IoSqringOffsets = struct('io_sqring_offsets', 40, {
  head: 'u32',
  tail: 'u32',
  ring_mask: 'u32',
  ring_entries: 'u32',
  flags: 'u32',
  dropped: 'u32',
  array: 'u32',
  _pad0: 'u32',
  _pad1: 'u64',
})

export const IoCqringOffsets = struct('io_cqring_offsets', 40, {
  head: 'u32',
  tail: 'u32',
  ring_mask: 'u32',
  ring_entries: 'u32',
  overflow: 'u32',
  cqes: 'u32',
  flags: 'u32',
  _pad0: 'u32',
  _pad1: 'u64',
})
/** In the completion ring's flags: completions do not signal the eventfd. */
export const IORING_CQ_EVENTFD_DISABLED = 1 << 0

export const IoUringSqe = struct('io_uring_sqe', 64, {
  opcode: 'u8',
  flags: 'u8',
  ioprio: 'u16',
  fd: 's32',
  off: 'size',
  addr: 'size',
  len: 'u32',
  rw_flags: 'u32', // of FSYNC: fsync_flags
  user_data: 'size',
  buf_index: 'u16',
  personality: 'u16',
  splice_fd_in: 's32',
  addr3: 'u64',
  _pad0: 'u64',
})
export const IORING_OP_READV = 1
export const IORING_OP_WRITEV = 2
export const IORING_OP_FSYNC = 3
export const IORING_OP_FALLOCATE = 17
export const IORING_OP_READ = 22
export const IORING_OP_WRITE = 23
export const IORING_FSYNC_DATASYNC = 1 << 0

export const IoUringCqe = struct('io_uring_cqe', 16, {
  user_data: 'size',
  res: 's32',
  flags: 'u32',
})

/** What mmap of the ring's fd takes as an offset. */
export const IORING_OFF_SQ_RING = 0
export const IORING_OFF_SQES = 0x1000_0000

export const IORING_ENTER_GETEVENTS = 1 << 0
export const IORING_REGISTER_EVENTFD = 4

export const SYS_io_uring_setup = 425
export const SYS_io_uring_enter = 426
export const SYS_io_uring_register = 427
