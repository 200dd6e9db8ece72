/**
 * The reactor: all sockets and eventfds in one epoll set, watched by the Node event loop, so timers and promises go on
 * working beside it.
 *
 * Idle costs nothing, busy pays no wake-up: after a message it polls up to 50 us, but only while that pays. Fixed polling
 * loses fivefold where client and host share a processor, so whether to poll is learnt from hits and misses.
 */
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../abi/epoll.ts'
import { EpollSet, type LoopWatch, watchOnLoop } from './epoll.ts'

export { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../abi/epoll.ts'

/** A watched fd. */
export interface Watch {
  /** What is watched for; 0 watches for errors and hang-up only. */
  interest: number
  /** Ends the watch; before the fd is closed. Idempotent. */
  close(): void
}

/** Longest polling after a message, ms. */
const SPIN_MS = 0.05
/** Longest stay in one turn before timers and promises get theirs, ms. */
const TURN_MS = 1
/** Polls between two looks at the clock: a poll costs 0.3 us, a look 0.05 us. */
const POLLS_PER_LOOK = 4
/** Misses in a row that turn polling off. */
const MAX_MISSES = 2
/** While off, one wake-up in so many tries again; doubled by each failed try up to the maximum. */
const MIN_PROBE_INTERVAL = 16
const MAX_PROBE_INTERVAL = 256
/** Wake-ups in a row that may go straight to the last ready fd before the whole set is looked at. */
const MAX_DIRECT = 8

interface Slot extends Watch {
  readonly fd: number
  readonly index: number
  readonly onReady: (events: number) => void
}

/** Decides whether polling after a message pays, from whether it did. */
export class SpinPolicy {
  #spinning = true
  #misses = 0
  #wakeUps = 0
  #probeInterval = MIN_PROBE_INTERVAL

  /** To be asked once a wake-up: whether to poll this time. */
  shouldSpin(): boolean {
    if (this.#spinning) return true
    return ++this.#wakeUps % this.#probeInterval === 0
  }

  /** Polling found something. */
  hit(): void {
    this.#spinning = true
    this.#misses = 0
    this.#probeInterval = MIN_PROBE_INTERVAL
  }

  /** Polling ended with nothing found. */
  miss(): void {
    if (this.#spinning) {
      if (++this.#misses >= MAX_MISSES) {
        this.#spinning = false
        this.#wakeUps = 0
      }
    } else {
      this.#probeInterval = Math.min(this.#probeInterval * 2, MAX_PROBE_INTERVAL)
      this.#wakeUps = 0
    }
  }
}

export class Reactor {
  readonly #set: EpollSet
  readonly #loop: LoopWatch
  readonly #spin = new SpinPolicy()
  readonly #slots: (Slot | undefined)[] = []
  readonly #free: number[] = []
  #watched = 0
  #last: Slot | undefined
  #direct = 0
  #running = false

  /** @param watch how the event loop waits for the set; chosen by what the node binary offers unless given */
  constructor(watch: (set: EpollSet, onReady: () => void) => LoopWatch = watchOnLoop) {
    this.#set = new EpollSet()
    this.#loop = watch(this.#set, () => this.#turn())
  }

  /**
   * Watches an fd. While anything is watched the process stays alive.
   *
   * @param fd       stays the caller's, who closes the watch before the fd
   * @param interest EPOLLIN, EPOLLOUT, or both
   * @param onReady  called with the events while they last; takes a bounded amount of work and returns. What it throws
   *                 is a bug, and surfaces as an uncaught exception
   */
  watch(fd: number, interest: number, onReady: (events: number) => void): Watch {
    const index = this.#free.pop() ?? this.#slots.length
    const set = this.#set
    let current = interest
    let open = true
    const slot: Slot = {
      fd,
      index,
      onReady,
      get interest() {
        return current
      },
      set interest(value) {
        if (!open || value === current) return
        current = value
        set.modify(fd, value, index)
      },
      close: () => {
        if (!open) return
        open = false
        set.remove(fd)
        this.#forget(slot)
      },
    }
    set.add(fd, interest, index)
    this.#slots[index] = slot
    if (this.#watched++ === 0) this.#loop.start()
    return slot
  }

  #forget(slot: Slot): void {
    this.#slots[slot.index] = undefined
    this.#free.push(slot.index)
    if (this.#last === slot) this.#last = undefined
    if (--this.#watched === 0) this.#loop.stop()
  }

  /** One wake-up: serve what is ready, poll on while that pays, and return to the event loop within about 1 ms. */
  #turn(): void {
    if (this.#running) return // a handler ran the event loop; it must not be entered again
    this.#running = true
    try {
      this.#serve()
    } catch (error) {
      // An exception must not cross into C; here it becomes what an exception in a timer would be.
      setImmediate(() => {
        throw error
      })
    } finally {
      this.#running = false
    }
  }

  #serve(): void {
    // Nearly always the fd that was ready last is the one that is ready now: its handler finds out cheaper than a look
    // at the whole set. It will be looked at soon enough: the loop calls again at once while anything is left.
    if (this.#last !== undefined && this.#last.interest === EPOLLIN && this.#direct < MAX_DIRECT) {
      this.#direct++
      this.#last.onReady(EPOLLIN)
    } else {
      this.#direct = 0
      if (this.#dispatch() === 0) return
    }
    if (!this.#spin.shouldSpin()) return

    const began = performance.now()
    let idleSince = began
    let found = false
    for (;;) {
      let events = 0
      for (let i = 0; i < POLLS_PER_LOOK && events === 0; i++) events = this.#dispatch()
      if (this.#watched === 0) return
      const now = performance.now()
      if (events > 0) {
        if (!found) this.#spin.hit()
        found = true
        idleSince = now
      } else if (now - idleSince >= SPIN_MS) {
        this.#spin.miss()
        return
      }
      if (now - began >= TURN_MS) {
        // Timers and promises first; then go on polling instead of sleeping into a wake-up.
        if (found) setImmediate(this.#again)
        return
      }
    }
  }

  readonly #again = (): void => {
    if (this.#watched > 0) this.#turn()
  }

  #dispatch(): number {
    const count = this.#set.poll()
    for (let i = 0; i < count; i++) {
      const slot = this.#slots[this.#set.dataOf(i)]
      if (slot === undefined) continue // closed by the handler of an earlier event
      const events = this.#set.eventsOf(i)
      this.#last = count === 1 && events === EPOLLIN ? slot : undefined
      slot.onReady(events)
    }
    return count
  }
}

/** All that can end an fd's use, for handlers that only ask whether anything is left to read. */
export const EPOLL_ENDED = EPOLLERR | EPOLLHUP
/** Room to write, or the end. */
export const EPOLL_WRITABLE = EPOLLOUT | EPOLL_ENDED

let shared: Reactor | undefined

/** The reactor of this process, made at its first use. */
export function reactor(): Reactor {
  return (shared ??= new Reactor())
}
