/**
 * Who may hand a file request to the kernel next. One user may have so many under way; where all together have as many as there
 * is room for, those who wait are served in turn. So whoever asks for thousands at a time keeps nobody else waiting for all of them.
 */
import type { FileRequest } from './file-request.ts'

/** One of those who take turns: any object, such as a client's memory, that stands for it. Each engine counts for itself what it has asked. */
export type FileUser = object

/** A user, as one engine has it. */
class Turn {
  underWay = 0
  /** Whether it is in the line of those that could begin one more, if there was room. */
  inLine = false
  readonly waiting: FileRequest[] = []
}

export class FileTurns {
  readonly #places: number
  readonly #each: number
  #underWay = 0
  readonly #of = new WeakMap<FileUser, Turn>()
  /** In the order of their turns. */
  readonly #line: Turn[] = []

  /**
   * @param places requests that may be under way in all
   * @param each   of one user
   */
  constructor(places: number, each: number) {
    this.#places = places
    this.#each = each
  }

  /** Whether a request begins now; else {@link next} returns it, in its turn. */
  begin(request: FileRequest): boolean {
    const turn = this.#turnOf(request.user)
    if (this.#underWay < this.#places && turn.underWay < this.#each && turn.waiting.length === 0) {
      this.#underWay++
      turn.underWay++
      return true
    }
    turn.waiting.push(request)
    this.#lineUp(turn)
    return false
  }

  /** A request of this user has ended; it was begun here. */
  end(user: FileUser): void {
    const turn = this.#turnOf(user)
    this.#underWay--
    turn.underWay--
    this.#lineUp(turn)
  }

  /** The next of those that wait, to be begun now, if there is room for one. */
  next(): FileRequest | undefined {
    if (this.#line.length === 0 || this.#underWay >= this.#places) return undefined
    const turn = this.#line.shift()!
    turn.inLine = false
    const request = turn.waiting.shift()!
    this.#underWay++
    turn.underWay++
    this.#lineUp(turn)
    return request
  }

  #turnOf(user: FileUser): Turn {
    const known = this.#of.get(user)
    if (known !== undefined) return known
    const turn = new Turn()
    this.#of.set(user, turn)
    return turn
  }

  #lineUp(turn: Turn): void {
    if (turn.inLine || turn.waiting.length === 0 || turn.underWay >= this.#each) return
    turn.inLine = true
    this.#line.push(turn)
  }
}
