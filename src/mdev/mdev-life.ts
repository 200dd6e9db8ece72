/** The states of an mdev, and what may follow what. */
import { ErrnoError } from '../lib/errno.ts'

export type MdevState = 'creating' | 'active' | 'removing' | 'removed'

/** What may follow what. */
const NEXT = {
  creating: ['active', 'removed'],
  active: ['removing'],
  removing: ['removed'],
  removed: [],
} as const satisfies Record<MdevState, readonly MdevState[]>

export class MdevLife {
  readonly #uuid: string
  #state: MdevState = 'creating'

  constructor(uuid: string) {
    this.#uuid = uuid
  }

  get state(): MdevState {
    return this.#state
  }

  /** @throws EAGAIN it is in no state from which that can follow */
  become(state: MdevState): void {
    const next: readonly MdevState[] = NEXT[this.#state]
    if (!next.includes(state)) throw this.between()
    this.#state = state
  }

  /** @throws EAGAIN it is being created or removed */
  mustBeActive(): void {
    if (this.#state !== 'active') throw this.between()
  }

  /** The refusal of what is not there yet, or not any more. */
  between(): ErrnoError {
    return new ErrnoError('EAGAIN', `mdev ${this.#uuid}: ${this.#state}`)
  }
}
