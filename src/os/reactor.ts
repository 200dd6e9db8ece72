/**
 * The reactor: all sockets and eventfds in one epoll set, watched by the Node event loop, so timers and promises go on
 * working beside it.
 *
 * Idle costs nothing, busy pays no wake-up: after a message it polls up to 80 us, but only while that pays. Fixed polling
 * loses fivefold where client and host share a processor, so whether to poll is learnt: see spin-policy.ts.
 */
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../abi/epoll.ts'
import { EpollSet, type LoopWatch, watchOnLoop } from './epoll.ts'
import { type Spinning, SpinPolicy } from './spin-policy.ts'

export { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../abi/epoll.ts'

/** A watched fd. */
export interface Watch {
  /** What is watched for; 0 watches for errors and hang-up only. */
  interest: number
  /** Has the handler called soon, with no events, as if it had said 'more': for one that was stopped by something else. */
  again(): void
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
const MAX_DIRECT = 4
/** Most handlers that are called again between two looks at the set: as many as one look calls. */
const MAX_RESUMED = 64

interface Slot extends Watch {
  readonly fd: number
  readonly index: number
  readonly onReady: ReadyHandler
  /** Whether it waits in `#unfinished` to be called again. */
  unfinished: boolean
}

/**
 * Takes what is ready.
 *
 * @returns true when something was there, false when nothing was. A handler that says which is asked, while we poll, to
 *          find out; one that says nothing is called only when there is something. 'more' when it stopped halfway, so
 *          that others get their turn: after them it is called again, with no events, and until then not for any. Only
 *          one that watches levels may say so.
 */
export type ReadyHandler = (events: number) => unknown

export class Reactor {
  readonly #set: EpollSet
  readonly #loop: LoopWatch
  readonly #spin: Spinning
  readonly #slots: (Slot | undefined)[] = []
  readonly #free: number[] = []
  /** Indices that become free when the events at hand are done: some of these may be for them. */
  readonly #closed: number[] = []
  #dispatching = false
  #watched = 0
  /** The fd that was ready last, alone, and the time before too; asked first the next time. */
  #last: Slot | undefined
  #recent: Slot | undefined
  #direct = 0
  /** Those that said 'more', who waits longest first. */
  readonly #unfinished: Slot[] = []
  /** What handlers threw in the round at hand. */
  readonly #errors: unknown[] = []
  #running = false
  #continuing = false

  /**
   * @param watch how the event loop waits for the set; chosen by what the node binary offers unless given
   * @param spin  when to poll instead of waiting; when it pays, unless given
   */
  constructor(
    watch: (set: EpollSet, onReady: () => void) => LoopWatch = watchOnLoop,
    spin: Spinning = new SpinPolicy(),
  ) {
    this.#set = new EpollSet()
    this.#spin = spin
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
      unfinished: false,
      get interest() {
        return current
      },
      set interest(value) {
        if (!open || value === current) return
        set.modify(fd, value, index)
        current = value
      },
      again: () => {
        if (!open || slot.unfinished) return
        this.#resumeLater(slot)
        if (!this.#running) this.#continueSoon()
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
    if (this.#recent === slot) this.#recent = undefined
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
      if (this.#unfinished.length > 0) this.#continueSoon() // no event will tell of them
    }
  }

  #serve(): void {
    const foundDirectly = this.#callDirectly()
    const began = performance.now()
    // What came meanwhile costs one look, which is cheaper than a way through the event loop; and it proves nothing.
    let found = !foundDirectly && this.#ask()
    for (;;) {
      while (found) {
        if (performance.now() - began >= TURN_MS) {
          this.#continueSoon()
          return
        }
        found = this.#ask()
      }
      if (this.#watched === 0 || !this.#spin.shouldSpin()) return
      if (!this.#pollFor(began)) return
      found = this.#ask()
    }
  }

  /**
   * Calls the handler of the fd that was ready the last two times, if any: nearly always it is the one that is ready now,
   * and it finds out cheaper than a look at the whole set. The others are looked at soon enough: the loop calls again at
   * once while anything is left, and after a few times it is their turn.
   *
   * @returns whether it found something, and all of it
   */
  #callDirectly(): boolean {
    const last = this.#last
    const mayCall = last?.interest === EPOLLIN && this.#unfinished.length === 0
    if (!mayCall || this.#direct >= MAX_DIRECT) {
      this.#direct = 0
      return false
    }
    this.#direct++
    const found = this.#call(last, EPOLLIN)
    if (found === false) this.#last = undefined // it was another's turn
    return found === true
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

  /** One round: serves what the set has, then those who were not finished. @returns whether there was anything */
  #ask(): boolean {
    const count = this.#set.poll()
    if (count <= 0 && this.#unfinished.length === 0) return false
    this.#handle(count)
    return true
  }

  /** @returns whether the handler found anything, or may have */
  #call(slot: Slot, events: number): unknown {
    const found = slot.onReady(events)
    if (found === 'more' && !slot.unfinished) this.#resumeLater(slot)
    return found
  }

  #resumeLater(slot: Slot): void {
    slot.unfinished = true
    this.#unfinished.push(slot)
  }

  /**
   * Asks the fd that was ready last, by its handler: for nearly every message that saves the look at the set, and the
   * earlier the reply, the less likely the peer has gone to sleep meanwhile.
   */
  #askLast(): boolean {
    const last = this.#last
    return last === undefined
      ? this.#ask()
      : last.interest === EPOLLIN && this.#call(last, EPOLLIN) !== false
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

  /** Calls the handlers of the `count` events at hand, then who waits to go on. @throws what they threw, after all of them */
  #handle(count: number): void {
    const unfinished =
      this.#unfinished.length > 0 ? this.#unfinished.splice(0, MAX_RESUMED) : NO_SLOTS
    this.#dispatching = true
    for (let i = 0; i < count; i++) {
      const slot = this.#slots[this.#set.dataOf(i)]
      // closed by the handler of an earlier event, or to be called when its turn comes
      if (slot === undefined || slot.unfinished) continue
      const events = this.#set.eventsOf(i)
      const tells = typeof this.#attempt(slot, events) === 'boolean'
      const isAlone = tells && count === 1 && events === EPOLLIN && this.#slots[slot.index] === slot
      this.#last = isAlone && this.#recent === slot ? slot : undefined
      this.#recent = isAlone ? slot : undefined
    }
    for (const slot of unfinished) {
      slot.unfinished = false
      if (this.#slots[slot.index] === slot) this.#attempt(slot, 0)
    }
    this.#dispatching = false
    if (this.#closed.length > 0) this.#free.push(...this.#closed.splice(0))
    if (this.#errors.length === 0) return
    const errors = this.#errors.splice(0)
    throw errors.length === 1 ? errors[0] : new AggregateError(errors)
  }

  /** Keeps what is thrown: the others still get theirs, because an edge is not reported again. */
  #attempt(slot: Slot, events: number): unknown {
    try {
      return this.#call(slot, events)
    } catch (error) {
      this.#errors.push(error)
      return undefined
    }
  }
}

const NO_SLOTS: readonly Slot[] = []

/** All that can end an fd's use, for handlers that only ask whether anything is left to read. */
export const EPOLL_ENDED = EPOLLERR | EPOLLHUP
/** Room to write, or the end. */
export const EPOLL_WRITABLE = EPOLLOUT | EPOLL_ENDED

let shared: Reactor | undefined

/** The reactor of this process, made at its first use. */
export function reactor(): Reactor {
  return (shared ??= new Reactor())
}
