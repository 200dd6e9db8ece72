/** <sys/socket.h> and <sys/un.h>, as the C library of a 64-bit machine has them. */
import { struct } from '../lib/struct.ts'

export const AF_UNIX = 1
export const SOCK_STREAM = 1
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SO_SNDBUF = 7
export const SO_PEERCRED = 17
export const SCM_RIGHTS = 1
/** Most fds that Linux passes in one message. */
export const SCM_MAX_FD = 253
export const MSG_CTRUNC = 0x8
export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000
export const MSG_CMSG_CLOEXEC = 0x4000_0000

/** Bytes of `sun_path`, its NUL included. */
export const UNIX_PATH_MAX = 108
/** struct sockaddr_un up to `sun_path`. */
export const SockaddrUn = struct('sockaddr_un', 2, { sun_family: 'u16' })

export const Iovec = struct('iovec', 16, { iov_base: 'size', iov_len: 'size' })

export const Msghdr = struct('msghdr', 56, {
  msg_name: 'size',
  msg_namelen: 'u32',
  _pad0: 'u32',
  msg_iov: 'size',
  msg_iovlen: 'size',
  msg_control: 'size',
  msg_controllen: 'size',
  msg_flags: 's32',
  _pad1: 'u32',
})

/** Data follows; the next one starts at a multiple of 8. */
export const Cmsghdr = struct('cmsghdr', 16, {
  cmsg_len: 'size',
  cmsg_level: 's32',
  cmsg_type: 's32',
})

export const Ucred = struct('ucred', 12, { pid: 's32', uid: 'u32', gid: 'u32' })
