/** One driver, told of the use of one group: once at its first open, once after its last close, and of one use after the other. */
import { describeError, ErrnoError, errnoCode, errnoOf } from '../lib/errno.ts'
import type { Clock } from '../lib/clock.ts'
import { isPromise } from '../lib/promise.ts'
import { inTime } from '../lib/within.ts'
import type { MdevGroup } from './driver.ts'
import type { GroupHold, GroupUse } from './group.ts'

/** What a driver does about groups. */
export interface GroupHooks {
  groupOpen?(group: MdevGroup): void | Promise<void>
  groupClose?(group: MdevGroup): void | Promise<void>
  /** Notes what went wrong in one of them. */
  failed?(what: 'groupOpen' | 'groupClose', error: unknown): void
}

export interface ToldDriverOptions {
  readonly hooks: GroupHooks
  /** For messages. */
  readonly parent: string
  readonly clock: Clock
  /** The group as the driver is to see it. */
  readonly view: (use: GroupUse) => MdevGroup
}

/** How long a driver may take: less than all of them together, so that it is known whose it was. */
const DRIVER_MS = 1500

interface Told {
  readonly group: MdevGroup
  holds: number
  /** What the driver says, however late. */
  answer: void | Promise<void>
  /** The same in time. */
  ready: void | Promise<void>
  /** The driver has said yes. */
  opened: boolean
  /** Nobody holds it any more. */
  over: boolean
  /** Resolves when the driver has been told of its end too. */
  readonly ended: Promise<void>
  readonly resolveEnded: () => void
}

export class ToldDriver {
  readonly #options: ToldDriverOptions
  readonly #uses = new Map<string, Told>()
  /** The newest, until it has ended. */
  #newest: Told | undefined

  constructor(options: ToldDriverOptions) {
    this.#options = options
  }

  /** Tells the driver of a use, unless it knows; where another has not ended yet, after that. @throws what the driver says */
  hold(use: GroupUse): GroupHold {
    const told = this.#uses.get(use.id) ?? this.#begin(use)
    told.holds++
    let held = true
    return {
      ready: told.ready,
      release: () => {
        if (!held) return
        held = false
        if (--told.holds === 0) this.#end(use.id, told)
      },
    }
  }

  /** Ends what is held, because the driver has nothing in the group any more. */
  end(): void {
    for (const [id, told] of this.#uses) this.#end(id, told)
  }

  #begin(use: GroupUse): Told {
    let resolveEnded = () => {}
    const ended = new Promise<void>((resolve) => {
      resolveEnded = resolve
    })
    const group = this.#options.view(use)
    const told: Told = {
      group,
      holds: 0,
      answer: undefined,
      ready: undefined,
      opened: false,
      over: false,
      ended,
      resolveEnded,
    }
    const before = this.#newest
    const answer =
      before === undefined ? this.#tell(told) : before.ended.then(() => this.#tell(told))
    told.answer = answer
    if (answer !== undefined) told.ready = this.#inTime(told, answer)
    this.#newest = told
    this.#uses.set(use.id, told)
    return told
  }

  #inTime({ group }: Told, answer: Promise<void>): Promise<void> {
    const { parent, clock, hooks } = this.#options
    const what = `group ${group.number}: parent ${parent}: groupOpen`
    const ready = inTime(answer, what, DRIVER_MS, clock)
    // who holds it hears of it; there may be nobody any more
    ready.catch((error: unknown) => {
      const isLate = error instanceof ErrnoError && error.cause === undefined
      if (isLate) hooks.failed?.('groupOpen', error)
    })
    return ready
  }

  #tell(told: Told): void | Promise<void> {
    if (told.over) return
    let under: void | Promise<void>
    try {
      under = this.#options.hooks.groupOpen?.(told.group)
    } catch (error) {
      throw this.#refusal(told, error)
    }
    if (!isPromise(under)) {
      told.opened = true
      return
    }
    return Promise.resolve(under).then(
      () => void (told.opened = true),
      (error: unknown) => {
        throw this.#refusal(told, error)
      },
    )
  }

  #end(id: string, told: Told): void {
    if (told.over) return
    told.over = true
    this.#uses.delete(id)
    const finish = () => {
      if (this.#newest === told) this.#newest = undefined
      told.resolveEnded()
    }
    const { answer, opened } = told
    const closing =
      answer === undefined || opened ? this.#close(told) : answer.then(() => this.#close(told))
    if (closing === undefined) finish()
    else closing.then(finish, finish)
  }

  #close(told: Told): void | Promise<void> {
    if (!told.opened) return
    const { hooks } = this.#options
    const failed = (error: unknown) => hooks.failed?.('groupClose', error)
    try {
      const under = hooks.groupClose?.(told.group)
      if (isPromise(under)) return Promise.resolve(under).catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  /** With the driver's errno, and saying whose driver that is. */
  #refusal({ group }: Told, error: unknown): ErrnoError {
    const { parent, hooks } = this.#options
    if (!(error instanceof ErrnoError)) hooks.failed?.('groupOpen', error) // a bug of the driver
    const why = error instanceof ErrnoError ? error.message : describeError(error)
    return new ErrnoError(
      errnoCode(errnoOf(error)),
      `group ${group.number}: parent ${parent}: ${why}`,
      { cause: error },
    )
  }
}
