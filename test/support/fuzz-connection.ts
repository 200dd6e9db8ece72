/**
 * One connection of a hostile client: sends what it is told to, takes what comes, and knows what must come.
 *
 * Payloads are not kept: what is looked at is whether each reply is the one due, and well-formed (section 3 of the reference).
 */
import { ftruncateSync, writeSync } from 'node:fs'
import { ErrnoError } from '../../src/lib/errno.ts'
import { closeFd, closeFds } from '../../src/os/fd.ts'
import { Inbox, sendBytes, WOULD_BLOCK } from '../../src/os/message.ts'
import { EPOLLIN, EPOLLOUT, reactor, type Watch } from '../../src/os/reactor.ts'
import { hasUnread } from '../../src/os/socket-ends.ts'
import { connectUnix } from '../../src/os/unix-socket.ts'
import { DMA_READ, DMA_WRITE, REPLY, TYPE } from './fuzz-messages.ts'
import type { Random } from './fuzz-random.ts'
import type { Written } from './fuzz-writer.ts'
import { message, NO_REPLY, u64 } from './vfio-user-raw.ts'

const HEADER = 16
const ERROR = 0x20
const EBUSY = 16
/** What of a message is looked at: the header, and address and count of a request to us. */
const HEAD = 32
const LARGEST = 2 ** 20 + 80
const MAX_ERRNO = 4095
/** ETOOMANYREFS, which Node does not name: of fds sent and not received a user without privileges has a limited number. */
const TOO_MANY_UNREAD_FDS = 'EIO'
/** What a server that says nothing is taken to hang after. */
const PATIENCE_MS = 30_000

/** The server has done something that it must not. */
export class Misbehaviour extends Error {}

const inbox = new Inbox(256 * 1024)
const doorbell = new Uint8Array(8)

export class FuzzConnection implements Disposable {
  readonly fd: number
  /** Whether replies must be the ones due, and the server may not hang up. */
  strict = true
  readonly #random: Random
  readonly #watch: Watch
  /** Replies due, in order: id and command, from `#next` on. */
  #due: [id: number, command: number][] = []
  #next = 0
  readonly #head = new Uint8Array(HEAD)
  readonly #view = new DataView(this.#head.buffer)
  /** What we answer to the server's own requests, to be sent between two messages. */
  #answers: Uint8Array[] = []
  #filled = 0
  /** Bytes of the message at hand that are not looked at. */
  #rest = 0
  #replies = 0
  #busy = false
  #ended = false
  #closed = false
  #failure: Misbehaviour | undefined
  #wake: (() => void) | undefined

  /** @param random what this end does that depends on when the server does what */
  constructor(path: string, random: Random) {
    this.#random = random
    this.fd = connectUnix(path)
    this.#watch = reactor().watch(this.fd, EPOLLIN, () => this.#onReady())
  }

  /** The server has hung up. */
  get ended(): boolean {
    return this.#ended
  }

  /** The server has answered that somebody else is attached, or has hung up because too many came. */
  get turnedAway(): boolean {
    return this.#busy || this.#ended
  }

  /** Stops to take replies, or takes them again. */
  set deaf(deaf: boolean) {
    this.#watch.interest = deaf ? 0 : EPOLLIN
  }

  /** Notes the reply that `said` must get, if any. */
  expect({ flags, id, command }: Written): void {
    if ((flags & TYPE) !== REPLY && (flags & NO_REPLY) === 0) this.#due.push([id, command])
  }

  /** Sends what the socket takes now. @returns how many bytes; undefined when the server has hung up */
  sendNow(bytes: Uint8Array, fds: readonly number[] = []): number | undefined {
    if (this.#ended) return undefined
    try {
      const sent = sendBytes(this.fd, bytes, fds)
      return sent === WOULD_BLOCK ? 0 : sent
    } catch (error) {
      const code = error instanceof ErrnoError ? error.code : undefined
      if (code === TOO_MANY_UNREAD_FDS) return 0
      if (code !== 'EPIPE' && code !== 'ECONNRESET') throw error
      this.#end()
      return undefined
    }
  }

  /**
   * Sends all of it, taking replies meanwhile.
   *
   * @param whole whether a message ends with it
   * @returns false when the server has hung up
   */
  async send(bytes: Uint8Array, fds: readonly number[] = [], whole = true): Promise<boolean> {
    if (!(await this.#sendAll(bytes, fds))) return false
    return !whole || this.#sendAnswers()
  }

  async #sendAnswers(): Promise<boolean> {
    for (let answer = this.#answers.shift(); answer !== undefined; answer = this.#answers.shift())
      if (!(await this.#sendAll(answer, []))) return false
    return true
  }

  async #sendAll(bytes: Uint8Array, fds: readonly number[]): Promise<boolean> {
    for (let done = 0; done < bytes.length;) {
      const sent = this.sendNow(bytes.subarray(done), done === 0 ? fds : [])
      if (sent === undefined) return false
      done += sent
      if (done < bytes.length) {
        this.#watch.interest = EPOLLIN | EPOLLOUT
        await this.#something('room to send')
        this.#watch.interest = EPOLLIN
      }
    }
    return true
  }

  /** Waits until the server has read all that was sent, or some rounds of the event loop have passed. */
  async received(): Promise<void> {
    for (let i = 0; i < 20 && !this.#ended && hasUnread(this.fd); i++)
      await new Promise((resolve) => setImmediate(resolve))
  }

  /** Waits for all replies that are due, or until the server hangs up. @throws Misbehaviour */
  async settled(): Promise<void> {
    while (this.#next < this.#due.length && !this.#ended) {
      await this.#something('reply')
      await this.#sendAnswers()
    }
    this.#check()
  }

  /** Waits for the first reply, or until the server hangs up. @throws Misbehaviour */
  async greeted(): Promise<void> {
    while (this.#replies === 0 && !this.#ended) await this.#something('reply to VERSION')
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#ended = true
    this.#watch.close()
    closeFd(this.fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async #something(what: string): Promise<void> {
    this.#check()
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Misbehaviour(`no ${what} within ${PATIENCE_MS} ms${this.#awaited()}`))
      }, PATIENCE_MS)
      this.#wake = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
    })
    this.#check()
  }

  #awaited(): string {
    const due = this.#due[this.#next]
    return due === undefined ? '' : `; due is that to command ${due[1]}, id ${due[0]}`
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.strict && this.#ended && !this.#closed)
      throw new Misbehaviour(`the server hung up on well-framed messages${this.#awaited()}`)
  }

  #fail(why: string): void {
    this.#failure ??= new Misbehaviour(why)
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#watch.close()
    this.#wake?.()
  }

  #onReady(): boolean {
    const count = this.#receive()
    if (count === WOULD_BLOCK) {
      if (this.#watch.interest !== EPOLLIN) this.#wake?.() // there is room to write
      return false
    }
    if (count === 0) {
      this.#end()
      return true
    }
    try {
      for (let at = 0; at < count;) at = this.#take(at, count)
    } finally {
      if (inbox.fds.length > 0) this.#spoil(inbox.fds.splice(0))
    }
    this.#wake?.()
    return true
  }

  #receive(): number {
    try {
      return inbox.receive(this.fd, 0, inbox.bytes.length)
    } catch {
      return 0 // ECONNRESET
    }
  }

  /** Goes on with the message at hand. @returns where in the inbox it got to */
  #take(at: number, count: number): number {
    if (this.#rest > 0) {
      const skipped = Math.min(this.#rest, count - at)
      this.#rest -= skipped
      return at + skipped
    }
    const wanted = this.#filled < HEADER ? HEADER : Math.min(HEAD, this.#size)
    const end = Math.min(count, at + wanted - this.#filled)
    this.#head.set(inbox.bytes.subarray(at, end), this.#filled)
    this.#filled += end - at
    if (this.#filled === HEADER && (this.#size < HEADER || this.#size > LARGEST)) {
      this.#fail(`a message of ${this.#size} bytes came`)
      this.#end()
      return count
    }
    if (this.#filled >= HEADER && this.#filled === Math.min(HEAD, this.#size)) {
      this.#rest = this.#size - this.#filled
      this.#filled = 0
      this.#handle()
    }
    return end
  }

  get #size(): number {
    return this.#view.getUint32(4, true)
  }

  #handle(): void {
    const id = this.#view.getUint16(0, true)
    const command = this.#view.getUint16(2, true)
    const flags = this.#view.getUint32(8, true)
    const error = this.#view.getUint32(12, true)
    const what = `command ${command}, id ${id}, flags ${flags}, error ${error}, size ${this.#size}`
    if (flags === 0 && (command === DMA_READ || command === DMA_WRITE)) {
      this.#answer(id, command)
      return
    }
    const isError = flags === (REPLY | ERROR)
    const isFine = isError
      ? this.#size === HEADER && error > 0 && error <= MAX_ERRNO
      : flags === REPLY && error === 0
    if (!isFine) this.#fail(`a malformed reply came: ${what}`)
    this.#replies++
    if (isError && error === EBUSY) this.#busy = true
    if (!this.strict) return
    const due = this.#due[this.#next++]
    if (due?.[0] !== id || due[1] !== command)
      this.#fail(`a reply came that is not due: ${what}; due: ${due?.join() ?? 'none'}`)
    if (this.#next >= 4096) {
      this.#due = this.#due.slice(this.#next)
      this.#next = 0
    }
  }

  /** The server reads or writes our memory: mostly it gets what it wants. */
  #answer(id: number, command: number): void {
    const random = this.#random
    const address = this.#view.getBigUint64(16, true)
    const count = Number(this.#view.getBigUint64(24, true))
    const data = Buffer.alloc(command === DMA_READ ? count : 0, 0x5a)
    let payload = Buffer.concat([u64(address, count), data])
    let flags = REPLY
    let error = 0
    switch (random.below(16)) {
      case 0:
        return // never
      case 1:
        flags |= ERROR
        error = random.pick([0, 1, 14, 22, 5000, 0xffff_ffff])
        payload = payload.subarray(0, random.pick([0, 0, 16]))
        break
      case 2:
        payload = payload.subarray(0, random.below(payload.length + 1))
        break
      case 3:
        id = random.below(0x1_0000)
        break
      case 4:
        command = DMA_READ + DMA_WRITE - command
        break
      default:
    }
    this.#answers.push(message(command, payload, { id, flags, error }))
  }

  /** What the server gives is ours to do what we like with: it must not mind, and must not let us cut its memory. */
  #spoil(fds: readonly number[]): void {
    for (const fd of fds) {
      try {
        this.#random.scatter(doorbell)
        if (!this.#random.once(3)) writeSync(fd, doorbell)
      } catch {
        // an eventfd whose counter is full
      }
      try {
        ftruncateSync(fd, 0)
        this.#fail('the server gave a file that can be cut under it')
      } catch {
        // sealed, or no file
      }
    }
    closeFds(fds)
  }
}
