/**
 * The reactor: all sockets and eventfds in one epoll set, watched by the Node event loop, so timers and promises go on
 * working beside it.
 *
 * Idle costs nothing, busy pays no wake-up: after a message it polls up to 80 us, but only while that pays. Fixed polling
 * loses fivefold where client and host share a processor, so whether to poll is learnt: see spin-policy.ts.
 */
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../abi/epoll.ts'
import { EpollSet, type LoopWatch, watchOnLoop } from './epoll.ts'
import { SpinPolicy } from './spin-policy.ts'

export { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../abi/epoll.ts'

/** A watched fd. */
export interface Watch {
  /** What is watched for; 0 watches for errors and hang-up only. */
  interest: number
  /** Ends the watch; before the fd is closed. Idempotent. */
  close(): void
}

/** Longest polling after a message, ms: what a halted peer takes to wake (20 to 45 us) and some thinking of its own. */
const SPIN_MS = 0.08
/** Longest stay in one turn before timers and promises get theirs, ms. */
const TURN_MS = 1
/** Polls between two looks at the clock, of which the last asks the whole set: 0.3 us; asking one fd 0.6, a look 0.1. */
const POLLS_PER_LOOK = 4
/** Wake-ups in a row that may go straight to the last ready fd before the whole set is looked at. */
const MAX_DIRECT = 8

interface Slot extends Watch {
  readonly fd: number
  readonly index: number
  readonly onReady: ReadyHandler
}

/**
 * Takes what is ready.
 *
 * @returns true when something was there, false when nothing was. A handler that says which is asked, while we poll, to
 *          find out; one that says nothing is called only when there is something.
 */
export type ReadyHandler = (events: number) => unknown

export class Reactor {
  readonly #set: EpollSet
  readonly #loop: LoopWatch
  readonly #spin = new SpinPolicy()
  readonly #slots: (Slot | undefined)[] = []
  readonly #free: number[] = []
  /** Indices that become free when the events at hand are done: some of these may be for them. */
  readonly #closed: number[] = []
  #dispatching = false
  #watched = 0
  #last: Slot | undefined
  #direct = 0
  #running = false
  #continuing = false

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
   * @param onReady  called with the events while they last, and now and then with EPOLLIN when there is nothing to read,
   *                 so it must not block; takes a bounded amount of work and returns. What it throws is a bug, and
   *                 surfaces as an uncaught exception
   * @throws EEXIST watched already · EPERM a file that is always ready · EBADF
   */
  watch(fd: number, interest: number, onReady: ReadyHandler): Watch {
    const index = this.#free.at(-1) ?? this.#slots.length
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
        set.modify(fd, value, index)
        current = value
      },
      close: () => {
        if (!open) return
        open = false
        set.remove(fd)
        this.#forget(slot)
      },
    }
    set.add(fd, interest, index)
    this.#free.pop()
    this.#slots[index] = slot
    if (this.#watched++ === 0) this.#loop.start()
    return slot
  }

  #forget(slot: Slot): void {
    this.#slots[slot.index] = undefined
    ;(this.#dispatching ? this.#closed : this.#free).push(slot.index)
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
    const began = performance.now()
    // Nearly always the fd that was ready last is the one that is ready now: its handler finds out cheaper than a look
    // at the whole set. It will be looked at soon enough: the loop calls again at once while anything is left.
    if (this.#last !== undefined && this.#last.interest === EPOLLIN && this.#direct < MAX_DIRECT) {
      this.#direct++
      this.#last.onReady(EPOLLIN)
    } else {
      this.#direct = 0
    }
    for (;;) {
      // What came meanwhile costs one look, which is cheaper than a way through the event loop; and it proves nothing.
      for (let count = this.#set.poll(); count > 0; count = this.#set.poll()) {
        this.#handle(count)
        if (performance.now() - began >= TURN_MS) {
          this.#continueSoon()
          return
        }
      }
      if (this.#watched === 0 || !this.#spin.shouldSpin()) return
      if (!this.#pollFor(began)) return
    }
  }

  /** Polls while that may pay, and serves what comes. @returns whether anything came; if not, give way to the event loop */
  #pollFor(turnBegan: number): boolean {
    const began = performance.now()
    for (;;) {
      let found = false
      for (let i = 1; i <= POLLS_PER_LOOK && !found; i++)
        found = i < POLLS_PER_LOOK ? this.#askLast() : this.#ask()
      const now = performance.now()
      if (found) {
        this.#spin.gain((now - began) * 1000)
        if (now - turnBegan < TURN_MS) return true
      } else if (now - began >= SPIN_MS) {
        this.#spin.lose((now - began) * 1000)
        return false
      }
      if (now - turnBegan >= TURN_MS) {
        this.#continueSoon() // timers and promises first, then on with it instead of sleeping into a wake-up
        return false
      }
    }
  }

  /** Serves what the set has. @returns whether it had anything */
  #ask(): boolean {
    const count = this.#set.poll()
    if (count <= 0) return false
    this.#handle(count)
    return true
  }

  /**
   * Asks the fd that was ready last, by its handler: for nearly every message that saves the look at the set, and the
   * earlier the reply, the less likely the peer has gone to sleep meanwhile.
   */
  #askLast(): boolean {
    const last = this.#last
    return last === undefined
      ? this.#ask()
      : last.interest === EPOLLIN && last.onReady(EPOLLIN) === true
  }

  /** At most one more turn per round of the event loop, however many have asked: else they add up, round by round. */
  #continueSoon(): void {
    if (this.#continuing) return
    this.#continuing = true
    setImmediate(this.#continue)
  }

  readonly #continue = (): void => {
    this.#continuing = false
    if (this.#watched > 0) this.#turn()
  }

  /** Calls the handlers of the `count` events at hand. @throws what they threw, after all of them */
  #handle(count: number): void {
    let errors: unknown[] | undefined
    this.#dispatching = true
    for (let i = 0; i < count; i++) {
      const slot = this.#slots[this.#set.dataOf(i)]
      if (slot === undefined) continue // closed by the handler of an earlier event
      const events = this.#set.eventsOf(i)
      try {
        const tells = typeof slot.onReady(events) === 'boolean'
        this.#last =
          tells && count === 1 && events === EPOLLIN && this.#slots[slot.index] === slot
            ? slot
            : undefined
      } catch (error) {
        ;(errors ??= []).push(error) // the others still get theirs: an edge is not reported again
      }
    }
    this.#dispatching = false
    if (this.#closed.length > 0) this.#free.push(...this.#closed.splice(0))
    if (errors !== undefined) throw errors.length === 1 ? errors[0] : new AggregateError(errors)
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
