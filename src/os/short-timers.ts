/** Timers that are finer than the event loop's, which count whole milliseconds: one timerfd for all of them. */
import * as abi from '../abi/timer.ts'
import { bytesAt, cFunction, check, permanent } from './ffi.ts'
import { EPOLLET, EPOLLIN, reactor, type Watch } from './reactor.ts'

const timerfdCreate = cFunction('timerfd_create', 'int', ['int', 'int'])
const timerfdSettime = cFunction('timerfd_settime', 'int', ['int', 'int', 'ptr', 'ptr'])

const MS_PER_S = 1000
const NS_PER_MS = 1e6
/** What the kernel would take for no timer at all is as soon as can be. */
const SOONEST_NS = 1

interface Timer {
  readonly due: number
  readonly action: () => void
}

export class ShortTimers {
  readonly #fd = check(
    timerfdCreate(abi.CLOCK_MONOTONIC, abi.TFD_NONBLOCK | abi.TFD_CLOEXEC),
    'timerfd_create',
  )
  readonly #address = permanent(abi.Itimerspec.size)
  /** When it goes off. */
  readonly #value = abi.Timespec.view().aim(
    new DataView(bytesAt(this.#address, abi.Itimerspec.size)),
    abi.Itimerspec.offsets.it_value,
  )
  /** By when they are due. */
  readonly #timers: Timer[] = []
  /** There while there are timers: else it would keep the process alive. */
  #watch: Watch | undefined
  /** What the timerfd is set to. */
  #armed = Infinity
  readonly #now: () => number

  /** @param now ms, monotonic */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Calls `action` once, `ms` milliseconds from now, a fraction of one as well. @returns what calls it off */
  after(ms: number, action: () => void): () => void {
    const timer = { due: this.#now() + ms, action }
    const later = this.#timers.findIndex(({ due }) => due > timer.due)
    this.#timers.splice(later < 0 ? this.#timers.length : later, 0, timer)
    this.#watch ??= reactor().watch(this.#fd, EPOLLIN | EPOLLET, () => this.#run())
    this.#arm()
    return () => {
      const index = this.#timers.indexOf(timer)
      if (index < 0) return
      this.#timers.splice(index, 1)
      if (this.#timers.length === 0) this.#rest()
    }
  }

  /** Sets the timerfd, unless it goes off early enough. */
  #arm(): void {
    const next = this.#timers[0]!.due
    if (this.#armed <= next) return
    this.#armed = next
    const ms = next - this.#now()
    this.#value.tv_sec = Math.max(0, Math.floor(ms / MS_PER_S))
    this.#value.tv_nsec = Math.max(SOONEST_NS, Math.ceil((ms % MS_PER_S) * NS_PER_MS))
    check(timerfdSettime(this.#fd, 0, this.#address, 0), 'timerfd_settime')
  }

  #rest(): void {
    this.#watch?.close()
    this.#watch = undefined
  }

  /** @returns whether any was due */
  #run(): boolean {
    this.#armed = Infinity
    const now = this.#now()
    let found = false
    try {
      while ((this.#timers[0]?.due ?? Infinity) <= now) {
        found = true
        this.#timers.shift()!.action()
      }
    } finally {
      if (this.#timers.length > 0) this.#arm()
      else this.#rest()
    }
    return found
  }
}

let shared: ShortTimers | undefined

/** Those of this process, made at their first use. */
export function shortTimers(): ShortTimers {
  return (shared ??= new ShortTimers())
}
