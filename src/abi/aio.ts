/** <linux/aio_abi.h>, and the numbers of its system calls, which the C library has no functions for. */
import { struct } from '../lib/struct.ts'

export const Iocb = struct('iocb', 64, {
  aio_data: 'u64',
  aio_key: 'u32',
  aio_rw_flags: 'u32',
  aio_lio_opcode: 'u16',
  aio_reqprio: 'u16',
  aio_fildes: 'u32',
  aio_buf: 'size',
  aio_nbytes: 'size',
  aio_offset: 'size',
  aio_reserved2: 'u64',
  aio_flags: 'u32',
  aio_resfd: 'u32',
})
export const IOCB_CMD_PREAD = 0
export const IOCB_FLAG_RESFD = 1 << 0

export const IoEvent = struct('io_event', 32, { data: 'u64', obj: 'u64', res: 'u64', res2: 'u64' })

const X64 = process.arch === 'x64'
export const SYS_io_setup = X64 ? 206 : 0
export const SYS_io_submit = X64 ? 209 : 2
export const SYS_io_getevents = X64 ? 208 : 4
