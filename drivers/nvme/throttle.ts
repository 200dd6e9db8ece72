/** How much a guest may do a second: bytes and requests, each a bucket that fills as time goes by. */
import type { Clock } from 'mdevkit'
import type { Limits, Wanted } from './disk.ts'

/** What a bucket holds at most is what comes in so many ms: a guest that was idle may do that much at once. */
const BURST_MS = 100

/** Tokens that come at a rate. A taker that finds any may take more than there are: the next waits the longer. */
class Bucket {
  #rate = 0
  #tokens = 0
  #filledAt = 0

  /** @param rate a second; 0 is without limit */
  setRate(rate: number, now: number): void {
    const wasLimited = this.#rate > 0
    this.#fill(now)
    this.#rate = rate
    const most = this.#most
    this.#tokens = wasLimited ? Math.min(this.#tokens, most) : most
    this.#filledAt = now
  }

  /** How long until there are tokens, ms. */
  wait(now: number): number {
    if (this.#rate === 0) return 0
    this.#fill(now)
    return this.#tokens > 0 ? 0 : ((1 - this.#tokens) / this.#rate) * 1000
  }

  take(count: number): void {
    if (this.#rate > 0) this.#tokens -= count
  }

  get #most(): number {
    return Math.max(1, (this.#rate * BURST_MS) / 1000)
  }

  #fill(now: number): void {
    this.#tokens = Math.min(this.#most, this.#tokens + ((now - this.#filledAt) * this.#rate) / 1000)
    this.#filledAt = now
  }
}

interface Limited {
  readonly bytes: number
  readonly begin: () => void
  /** Called instead, by {@link Throttle.cancel}. */
  readonly giveUp: () => void
  readonly isWanted: Wanted
}

/** Lets requests begin in their order, as fast as the limits say. */
export class Throttle {
  readonly #clock: Clock
  readonly #bytes = new Bucket()
  readonly #requests = new Bucket()
  #waiting: Limited[] = []
  readonly #afterBegin: () => void
  #isLimited = false
  #callOff: (() => void) | undefined

  /** @param afterBegin called after requests have begun that had to wait */
  constructor(clock: Clock, limits: Limits, afterBegin: () => void) {
    this.#clock = clock
    this.#afterBegin = afterBegin
    this.limit(limits)
  }

  /** From now on; also for those that wait. */
  limit({ bandwidth, iops }: Limits): void {
    const now = this.#clock.now()
    this.#bytes.setRate(bandwidth, now)
    this.#requests.setRate(iops, now)
    this.#isLimited = bandwidth > 0 || iops > 0
    this.#callOff?.()
    this.#callOff = undefined
    this.#goOn()
  }

  /** Whether requests have to go through {@link run}. */
  get isActive(): boolean {
    return this.#isLimited || this.#waiting.length > 0
  }

  /** Begins a request, now or later. */
  run(request: Limited): void {
    if (this.#waiting.length > 0 || this.#wait() > 0) {
      this.#waiting.push(request)
      this.#sleep()
      return
    }
    this.#take(request.bytes)
    request.begin()
  }

  /** Gives up what waits, all of it or what `which` says. */
  cancel(which: (isWanted: Wanted) => boolean = () => true): void {
    const waiting = this.#waiting
    this.#waiting = []
    const givenUp: Limited[] = []
    for (const each of waiting) (which(each.isWanted) ? givenUp : this.#waiting).push(each)
    if (this.#waiting.length === 0) {
      this.#callOff?.()
      this.#callOff = undefined
    }
    for (const { giveUp } of givenUp) giveUp()
  }

  #wait(): number {
    const now = this.#clock.now()
    return Math.max(this.#bytes.wait(now), this.#requests.wait(now))
  }

  #take(bytes: number): void {
    this.#bytes.take(bytes)
    this.#requests.take(1)
  }

  #goOn(): void {
    let begun = 0
    while (this.#waiting.length > 0 && this.#wait() === 0) {
      const next = this.#waiting.shift()!
      this.#take(next.bytes)
      next.begin()
      begun++
    }
    this.#sleep()
    if (begun > 0) this.#afterBegin()
  }

  #sleep(): void {
    if (this.#waiting.length === 0 || this.#callOff !== undefined) return
    this.#callOff = this.#clock.after(this.#wait(), () => {
      this.#callOff = undefined
      this.#goOn()
    })
  }
}
