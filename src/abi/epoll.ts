/** <sys/epoll.h>. */
import { struct } from '../lib/struct.ts'

/**
 * x86-64 packs it to 12 bytes; every other machine aligns `data` to 8.
 * `data` is a union of 64 bits, of which we use the low 32 as two numbers.
 */
export const EpollEvent =
  process.arch === 'x64'
    ? struct('epoll_event', 12, { events: 'u32', data: 'u32', _pad0: 'u32' })
    : struct('epoll_event', 16, { events: 'u32', _pad1: 'u32', data: 'u32', _pad0: 'u32' })

export const EPOLLIN = 0x001
export const EPOLLPRI = 0x002
export const EPOLLOUT = 0x004
export const EPOLLERR = 0x008
export const EPOLLHUP = 0x010
export const EPOLLRDNORM = 0x040
export const EPOLLWRNORM = 0x100
export const EPOLLRDHUP = 0x2000
export const EPOLLET = 0x8000_0000
export const EPOLL_CLOEXEC = 0o2000000
export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLL_CTL_MOD = 3
