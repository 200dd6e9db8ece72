/** What one check works with: its own connections, and whatever else it opens. */
import { errnoCode, type ErrnoError } from '../../lib/errno.ts'
import { closeFd } from '../../os/fd.ts'
import { receiveInto, WOULD_BLOCK } from '../../os/message.ts'
import { EPOLLIN, reactor } from '../../os/reactor.ts'
import { connectUnix, socketPair } from '../../os/unix-socket.ts'
import * as wire from '../../abi/vfio-user.ts'
import type { Beacon, Context } from './check.ts'
import { type Frame, isError, RawConnection } from './raw-connection.ts'
import { PROPOSALS } from './requests.ts'
import type { Survey } from './survey.ts'
import { Violation } from './violation.ts'

/** Pause before connecting again to a server that is not done with the client before. */
const RETRY_MS = 10

/** Nobody serves at the socket. */
export class Unreachable extends Error {
  constructor(cause: ErrnoError) {
    super(cause.message, { cause })
    this.name = 'Unreachable'
  }
}

export class CheckContext implements Context {
  readonly #path: string
  readonly limitMs: number
  readonly #survey: Survey | undefined
  readonly #connections: RawConnection[] = []
  readonly #owned: Disposable[] = []
  #ended = false

  /**
   * @param path    of the server's socket
   * @param limitMs how long the server may take for anything
   */
  constructor(path: string, limitMs: number, survey?: Survey) {
    this.#path = path
    this.limitMs = limitMs
    this.#survey = survey
  }

  get survey(): Survey {
    if (this.#survey === undefined) throw new Error('no survey has been taken')
    return this.#survey
  }

  /** @throws Unreachable */
  async connect(): Promise<RawConnection> {
    if (this.#ended) throw new Error('the check was given up')
    let fd: number
    try {
      fd = connectUnix(this.#path)
    } catch (error) {
      throw new Unreachable(error as ErrnoError)
    }
    return this.connectionOver(fd)
  }

  connectionOver(fd: number): RawConnection {
    const connection = new RawConnection(fd, this.limitMs)
    this.#connections.push(connection)
    return connection
  }

  async attach(proposal: Uint8Array = PROPOSALS.qemu): Promise<RawConnection> {
    const { connection } = await this.negotiate(proposal)
    return connection
  }

  /** {@link attach}, and what the server said to it. One that refuses at once may not be done with the last client. */
  async negotiate(proposal: Uint8Array): Promise<{ connection: RawConnection; version: Frame }> {
    const expected = 'an answer to VERSION'
    const deadline = performance.now() + this.limitMs
    for (;;) {
      const connection = await this.connect()
      await connection.command(wire.VFIO_USER_VERSION, proposal)
      const version = await connection.nextOrEnd(expected)
      if (version !== undefined && !isBusy(version)) {
        if (isError(version))
          throw new Violation('VERSION: success', `a refusal with ${errnoCode(version.error)}`)
        return { connection, version }
      }
      connection.close()
      if (performance.now() > deadline)
        throw new Violation(expected, 'a refusal, again and again: another client has it')
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  own<T extends Disposable>(resource: T): T {
    this.#owned.push(resource)
    return resource
  }

  beacon(): Beacon {
    return this.own(new SocketBeacon(this.limitMs))
  }

  /** Ends the connections in an orderly way, so that the next check meets an idle server. */
  async end(): Promise<void> {
    this.#ended = true
    for (const connection of this.#connections.splice(0)) await connection.finish()
    for (const resource of this.#owned.splice(0)) resource[Symbol.dispose]()
  }
}

/** The server may be done soon with the client before. */
function isBusy(version: Frame): boolean {
  return isError(version) && errnoCode(version.error) === 'EBUSY'
}

/** One end of a socket pair: the other end reads the end of the stream when the last copy of it is closed. */
class SocketBeacon implements Beacon {
  readonly #limitMs: number
  readonly #other: number
  #fd: number

  constructor(limitMs: number) {
    this.#limitMs = limitMs
    ;[this.#fd, this.#other] = socketPair()
  }

  get fd(): number {
    return this.#fd
  }

  async expectReleased(after: string): Promise<void> {
    this.#close()
    const released = await new Promise<boolean>((resolve) => {
      const settle = (result: boolean) => {
        clearTimeout(timer)
        watch.close()
        resolve(result)
      }
      const timer = setTimeout(() => settle(false), this.#limitMs)
      const watch = reactor().watch(this.#other, EPOLLIN, () => {
        if (receiveInto(this.#other, new Uint8Array(1)) !== WOULD_BLOCK) settle(true)
      })
    })
    if (!released) {
      throw new Violation(
        `${after}: every fd received is closed`,
        `one is open still after ${this.#limitMs} ms`,
      )
    }
  }

  [Symbol.dispose](): void {
    this.#close()
    closeFd(this.#other)
  }

  #close(): void {
    if (this.#fd < 0) return
    closeFd(this.#fd)
    this.#fd = -1
  }
}
