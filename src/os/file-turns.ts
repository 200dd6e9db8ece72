/**
 * Who may hand a file request to the kernel next. One user may have so many under way; where all together have as many as there
 * is room for, those who wait are served in turn. So whoever asks for thousands at a time keeps nobody else waiting for all of them.
 */
import type { FileRequest } from './file-request.ts'

/** One of those who take turns: a client's memory, or whoever else begins requests. */
export class FileUser {
  /** Requests under way, kept by the {@link FileTurns} of the one engine that they go to. */
  underWay = 0
  /** Whether it is in the line of those that could begin one more, if there was room. */
  inLine = false
  readonly waiting: FileRequest[] = []
}

export class FileTurns {
  readonly #places: number
  readonly #each: number
  #underWay = 0
  /** In the order of their turns. */
  readonly #line: FileUser[] = []

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
    const { user } = request
    if (this.#underWay < this.#places && user.underWay < this.#each && user.waiting.length === 0) {
      this.#underWay++
      user.underWay++
      return true
    }
    user.waiting.push(request)
    this.#lineUp(user)
    return false
  }

  /** A request of this user has ended; it was begun here. */
  end(user: FileUser): void {
    this.#underWay--
    user.underWay--
    this.#lineUp(user)
  }

  /** The next of those that wait, to be begun now, if there is room for one. */
  next(): FileRequest | undefined {
    if (this.#line.length === 0 || this.#underWay >= this.#places) return undefined
    const user = this.#line.shift()!
    user.inLine = false
    const request = user.waiting.shift()!
    this.#underWay++
    user.underWay++
    this.#lineUp(user)
    return request
  }

  #lineUp(user: FileUser): void {
    if (user.inLine || user.waiting.length === 0 || user.underWay >= this.#each) return
    user.inLine = true
    this.#line.push(user)
  }
}
