/** One epoll set, and the two ways in which the Node event loop can wait for it. */
import { isMainThread } from 'node:worker_threads'
import * as epoll from '../abi/epoll.ts'
import { dataViewOf } from '../lib/struct.ts'
import {
  addressOf,
  bytesAt,
  cCallback,
  cFunction,
  cFunctionAsync,
  check,
  permanent,
  type CFunction,
} from './ffi.ts'

const epollCreate1 = cFunction('epoll_create1', 'int', ['int'])
const epollCtl = cFunction('epoll_ctl', 'int', ['int', 'int', 'int', 'ptr'])
const epollWait = cFunction('epoll_wait', 'int', ['int', 'ptr', 'int', 'int'])

const MAX_EVENTS = 64

/** A set of watched fds. Each has a number of the caller's choice, which its events come with. */
export class EpollSet {
  readonly fd = check(epollCreate1(epoll.EPOLL_CLOEXEC), 'epoll_create1')
  readonly #events = new Uint8Array(epoll.EpollEvent.size * MAX_EVENTS)
  readonly #view = dataViewOf(this.#events)
  readonly #address = addressOf(this.#events)
  readonly #change = epoll.EpollEvent.encode({})
  readonly #changeView = epoll.EpollEvent.view().aim(dataViewOf(this.#change))
  readonly #changeAddress = addressOf(this.#change)

  add(fd: number, interest: number, data: number): void {
    this.#control(epoll.EPOLL_CTL_ADD, fd, interest, data)
  }

  modify(fd: number, interest: number, data: number): void {
    this.#control(epoll.EPOLL_CTL_MOD, fd, interest, data)
  }

  remove(fd: number): void {
    epollCtl(this.fd, epoll.EPOLL_CTL_DEL, fd, this.#changeAddress)
  }

  /** What is ready now: how many events, to be read by {@link dataOf} and {@link eventsOf}. */
  poll(): number {
    return epollWait(this.fd, this.#address, MAX_EVENTS, 0)
  }

  dataOf(index: number): number {
    return this.#view.getUint32(index * epoll.EpollEvent.size + epoll.EpollEvent.offsets.data, true)
  }

  eventsOf(index: number): number {
    return this.#view.getUint32(index * epoll.EpollEvent.size, true)
  }

  #control(operation: number, fd: number, interest: number, data: number): void {
    this.#changeView.events = interest >>> 0
    this.#changeView.data = data
    check(epollCtl(this.fd, operation, fd, this.#changeAddress), `epoll_ctl of fd ${fd}`)
  }
}

/** Calls back on the event loop while a set has events. */
export interface LoopWatch {
  /** Starts, and keeps the process alive. Idempotent, like `stop`. */
  start(): void
  stop(): void
}

/** Watches `set` on the Node event loop: by libuv's own poll where the node binary exports it, else by a thread. */
export function watchOnLoop(set: EpollSet, onReady: () => void): LoopWatch {
  return uvWatch(set, onReady) ?? threadWatch(set, onReady)
}

const UV_POLL = 8
const UV_READABLE = 1

/**
 * The set's fd sits in libuv's own epoll: one wake-up, no thread. Undefined where libuv's functions are not exported, and
 * in a worker, whose loop cannot be asked for.
 */
export function uvWatch(set: EpollSet, onReady: () => void): LoopWatch | undefined {
  if (!isMainThread) return undefined
  let uvDefaultLoop: CFunction, uvHandleSize: CFunction, uvPollInit: CFunction
  let uvPollStart: CFunction, uvPollStop: CFunction
  try {
    uvDefaultLoop = cFunction('uv_default_loop', 'ptr', [])
    uvHandleSize = cFunction('uv_handle_size', 'size', ['int'])
    uvPollInit = cFunction('uv_poll_init', 'int', ['ptr', 'ptr', 'int'])
    uvPollStart = cFunction('uv_poll_start', 'int', ['ptr', 'int', 'ptr'])
    uvPollStop = cFunction('uv_poll_stop', 'int', ['ptr'])
  } catch {
    return undefined
  }
  // The loop keeps pointers to the handle for ever, so it lives outside of the collector's reach.
  const handle = permanent(uvHandleSize(UV_POLL))
  check(uvPollInit(uvDefaultLoop(), handle, set.fd), 'uv_poll_init')
  const callback = cCallback(['ptr', 'int', 'int'], onReady)
  return {
    start: () => void check(uvPollStart(handle, UV_READABLE, callback), 'uv_poll_start'),
    stop: () => void uvPollStop(handle),
  }
}

/**
 * A thread of libuv's pool waits; slower, and it takes one of the pool's four threads. It waits in poll(2), which takes
 * nothing away: epoll_wait would swallow the edges.
 */
export function threadWatch(set: EpollSet, onReady: () => void): LoopWatch {
  const pollAsync = cFunctionAsync('poll', 'int', ['ptr', 'u64', 'int'])
  const pollFd = permanent(8) // struct pollfd: int fd, short events, short revents
  const view = new DataView(bytesAt(pollFd, 8))
  view.setInt32(0, set.fd, true)
  view.setInt16(4, epoll.EPOLLIN, true) // the same as POLLIN
  let started = false
  let waiting = false
  const wait = () => {
    if (waiting || !started) return
    waiting = true
    // With a bound on the wait, a stop takes effect without a way to interrupt the thread.
    pollAsync([pollFd, 1, THREAD_WAIT_MS], (_error, count) => {
      waiting = false
      if (started && count > 0) onReady()
      wait()
    })
  }
  return {
    start() {
      started = true
      wait()
    },
    stop() {
      started = false
    },
  }
}

const THREAD_WAIT_MS = 1000
