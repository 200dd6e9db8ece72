/** Stream sockets half way: what the peer has not read yet, and that no more will come, from either side. */
import { EPOLLRDHUP } from '../abi/epoll.ts'
import { addressOf, cFunction, check } from './ffi.ts'

const ioctl = cFunction('ioctl', 'int', ['int', 'u64', 'ptr'])
const shutdown = cFunction('shutdown', 'int', ['int', 'int'])
const poll = cFunction('poll', 'int', ['ptr', 'u64', 'int'])

/** <linux/sockios.h> */
const SIOCOUTQ = 0x5411
const SHUT_WR = 1

/** Whether the peer of a UNIX stream socket has something of ours still to read. */
export function hasUnread(fd: number): boolean {
  const waiting = new Int32Array(1)
  check(ioctl(fd, SIOCOUTQ, addressOf(waiting)), `ioctl SIOCOUTQ of fd ${fd}`)
  return waiting[0] !== 0
}

/** The peer reads the end of the stream from now on; what it sends is still received. A peer that has gone is no error. */
export function endWriting(fd: number): void {
  shutdown(fd, SHUT_WR)
}

/** Whether the peer sends no more. What it has sent before may still be there to read. */
export function hasHungUp(fd: number): boolean {
  const pollFd = new DataView(new ArrayBuffer(8)) // struct pollfd: int fd, short events, short revents
  pollFd.setInt32(0, fd, true)
  pollFd.setInt16(4, EPOLLRDHUP, true) // the same as POLLRDHUP; POLLHUP comes unasked
  return poll(addressOf(pollFd), 1, 0) > 0
}
