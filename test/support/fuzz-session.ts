/**
 * Sessions of a hostile client, each made from the seed of the run and its number alone: what is said, with which fds, in
 * which pieces, and how it ends. What depends on when the server answers is drawn from another sequence.
 */
import { Unwind } from '../../src/lib/unwind.ts'
import { FuzzConnection, Misbehaviour } from './fuzz-connection.ts'
import { ALL_GIFTS, Gifts } from './fuzz-gifts.ts'
import { Grammar } from './fuzz-messages.ts'
import { Random } from './fuzz-random.ts'
import type { MessageWriter, Written } from './fuzz-writer.ts'
import * as wire from './vfio-user-raw.ts'

export interface SessionOptions {
  /** The device's socket. */
  readonly path: string
  readonly seed: number
  readonly number: number
  /** Shared by the sessions of one lane, which come one after the other. */
  readonly writer: MessageWriter
  /** Told what is sent, before it is. */
  readonly onSend: (bytes: Uint8Array, messages: number, fds: readonly string[]) => void
}

/** Bytes of a burst: a few of the largest messages. */
export const BURST_SIZE = 8 * 2 ** 20
/** Room that any one message takes. */
const LARGEST = 2 ** 20 + 4096
/** How long a device may go on being busy with the client before, who has closed. */
const PATIENCE_MS = 30_000

const alive = wire.u32(16, 0, 0, 0)

/** Runs one session to its end. @throws Misbehaviour of the server */
export async function runSession(options: SessionOptions): Promise<void> {
  const random = new Random(options.seed, options.number, 1)
  const run = random.pick(KINDS)
  using gifts = new Gifts()
  const session = new Session(options, random, gifts)
  await run(session)
}

type Kind = (session: Session) => Promise<void>

/** As often as they occur here. */
const KINDS: readonly Kind[] = [
  ...Array.from({ length: 10 }, (): Kind => (session) => session.talk(0)),
  ...Array.from({ length: 3 }, (): Kind => (session) => session.talk(3)),
  (session) => session.flood(),
  (session) => session.flood(),
  (session) => session.lie(),
  (session) => session.lie(),
  (session) => session.babble(),
  (session) => session.babble(),
  (session) => session.falter(),
  (session) => session.crowd(),
]

class Session {
  readonly #options: SessionOptions
  readonly #random: Random
  readonly #gifts: Gifts
  readonly #grammar: Grammar
  readonly #writer: MessageWriter

  constructor(options: SessionOptions, random: Random, gifts: Gifts) {
    this.#options = options
    this.#random = random
    this.#gifts = gifts
    this.#writer = options.writer
    this.#writer.clear()
    this.#grammar = new Grammar(random, this.#writer)
  }

  /** Well-framed messages, glued together or, once in `cuts`, in pieces: each is answered as it asks, in order. */
  async talk(cuts: number): Promise<void> {
    using connection = await this.#attach()
    const bursts = this.#random.between(1, 60)
    for (let i = 0; i < bursts; i++) {
      const messages = this.#burst(this.#random.between(1, 80))
      for (const each of messages) connection.expect(each)
      await this.#say(connection, messages, cuts)
      if (this.#random.once(4)) await connection.settled()
      if (this.#random.once(12)) this.#gifts.truncate()
    }
    await this.#leave(connection)
  }

  /** More requests than there is room for their replies, none of which is taken; then all are, or none ever. */
  async flood(): Promise<void> {
    using connection = await this.#attach()
    connection.deaf = true
    const rounds = this.#random.between(1, 60)
    for (let i = 0; i < rounds; i++) {
      const goes = this.#random.once(4)
      const listens = this.#random.once(2)
      const messages = this.#burst(this.#random.between(20, 200), () => {
        const count = this.#random.pick([4, 256, 4096])
        return this.#grammar.say(wire.REGION_READ, wire.access(this.#random.pick([5, 9]), 0, count))
      })
      const bytes = this.#bytesOf(messages)
      this.#options.onSend(bytes, messages.length, [])
      for (const each of messages) connection.expect(each)
      const sent = connection.sendNow(bytes) ?? 0
      if (sent === bytes.length) continue
      if (goes) return // with the server in the midst of it
      connection.deaf = false
      await connection.send(bytes.subarray(sent))
      connection.deaf = !listens
    }
    connection.deaf = false
    await this.#leave(connection)
  }

  /** Headers that do not say the truth; from then on the stream is anything. */
  async lie(): Promise<void> {
    using connection = await this.#attach()
    connection.strict = false
    const bursts = this.#random.between(1, 6)
    for (let i = 0; i < bursts && !connection.ended; i++) {
      const messages = this.#burst(this.#random.between(1, 20))
      const { start, end } = this.#random.pick(messages)
      const { view } = this.#writer
      const size = end - start
      switch (this.#random.below(4)) {
        case 0:
          view.setUint32(
            start + 4,
            this.#random.pick([0, 15, 16, 17, 2 ** 20 + 81, 2 ** 32 - 1]),
            true,
          )
          break
        case 1:
          view.setUint32(start + 4, size + this.#random.between(-16, 64), true)
          break
        case 2:
          view.setUint32(start + 4, this.#random.between(0x4000, 0x10_0050), true)
          break
        default:
          view.setUint8(start + this.#random.below(16), this.#random.u32())
      }
      await this.#say(connection, messages, this.#random.pick([0, 3]))
    }
    if (!connection.ended) await connection.received()
  }

  /** Any bytes, with any fds. */
  async babble(): Promise<void> {
    const greeted = this.#random.once(2)
    using connection = greeted ? await this.#attach() : await this.#connect()
    connection.strict = false
    const parts = this.#random.between(1, 8)
    for (let i = 0; i < parts && !connection.ended; i++) {
      const bytes = new Uint8Array(this.#random.between(1, this.#random.once(3) ? 2000 : 40))
      this.#random.scatter(bytes)
      if (bytes.length > 16 && !this.#random.once(3)) {
        const view = new DataView(bytes.buffer)
        view.setUint32(4, bytes.length, true)
        view.setUint16(2, this.#random.below(20), true)
      }
      const kinds = Array.from({ length: this.#random.below(3) }, () =>
        this.#random.pick(ALL_GIFTS),
      )
      this.#options.onSend(bytes, 1, kinds)
      await connection.send(
        bytes,
        kinds.map((kind) => this.#gifts.get(kind)),
      )
    }
  }

  /** A start that comes to nothing: no VERSION, a wrong one, half of one. */
  async falter(): Promise<void> {
    const attempts = this.#random.between(1, 10)
    for (let i = 0; i < attempts; i++) {
      using connection = await this.#connect()
      connection.strict = false
      this.#writer.clear()
      const hello = this.#random.once(2) ? this.#grammar.hello() : this.#grammar.next()
      const length = this.#random.once(2) ? hello.end : this.#random.below(hello.end)
      const bytes = this.#writer.bytes.subarray(0, length)
      const fds = length === 0 || this.#random.once(2) ? [] : [this.#random.pick(ALL_GIFTS)]
      this.#options.onSend(bytes, 1, fds)
      await connection.send(
        bytes,
        fds.map((kind) => this.#gifts.get(kind)),
      )
      if (this.#random.once(2)) await connection.received()
    }
  }

  /** Others come while one is attached: they are refused, and it is served. */
  async crowd(): Promise<void> {
    using connection = await this.#attach()
    const others = this.#random.between(1, 24)
    using open = new Unwind()
    for (let i = 0; i < others; i++) {
      const other = this.#other()
      open.defer(() => other.close())
      other.strict = false
      this.#writer.clear()
      const said = this.#random.once(2) ? this.#grammar.hello() : this.#grammar.next()
      const bytes = this.#writer.bytes.subarray(0, said.end)
      this.#options.onSend(bytes, 1, [])
      await other.send(bytes)
      if (this.#random.once(2)) other.close()
    }
    await this.#leave(connection)
  }

  #other(): FuzzConnection {
    const { path, seed, number } = this.#options
    return new FuzzConnection(path, new Random(seed, number, 2))
  }

  /** Connects while nobody else is attached, and says VERSION. */
  async #attach(): Promise<FuzzConnection> {
    const until = performance.now() + PATIENCE_MS
    for (;;) {
      const connection = this.#other()
      try {
        this.#writer.clear()
        const hello = this.#grammar.hello()
        const bytes = this.#bytesOf([hello])
        this.#options.onSend(bytes, 1, [])
        connection.strict = false // this one may be refused
        await connection.send(bytes)
        await connection.greeted()
        if (!connection.turnedAway) {
          connection.strict = true
          await this.#prepare(connection)
          return connection
        }
        if (performance.now() > until)
          throw new Misbehaviour('a client that has closed is taken for attached')
      } catch (error) {
        connection.close()
        throw error
      }
      connection.close()
      await new Promise((resolve) => setTimeout(resolve, 1)) // the server has yet to read what the one before left
    }
  }

  /** Connects while nobody else is attached, and says nothing. */
  async #connect(): Promise<FuzzConnection> {
    const before = await this.#attach()
    await before.settled()
    before.close()
    return this.#other()
  }

  /** Brings the device, which may be in whatever state, to where most things can be done. */
  async #prepare(connection: FuzzConnection): Promise<void> {
    this.#writer.clear()
    const messages: Written[] = []
    if (!this.#random.once(8)) {
      messages.push(this.#grammar.say(wire.RESET, Buffer.alloc(0)))
      const running = wire.feature(wire.SET | 2, wire.u32(2, 0))
      messages.push(this.#grammar.say(wire.DEVICE_FEATURE, running))
      const command = wire.access(7, 4, 2, wire.u16(7)) // memory, I/O, bus mastering
      messages.push(this.#grammar.say(wire.REGION_WRITE, command))
    }
    for (const each of messages) connection.expect(each)
    await this.#say(connection, messages, 0)
  }

  /** Writes so many messages, or as many as there is room for. */
  #burst(count: number, next: () => Written = () => this.#grammar.next()): Written[] {
    const messages: Written[] = []
    this.#writer.clear()
    while (messages.length < count && this.#writer.room > LARGEST) messages.push(next())
    return messages
  }

  #bytesOf(messages: readonly Written[]): Uint8Array {
    return this.#writer.bytes.subarray(messages[0]?.start ?? 0, messages.at(-1)?.end ?? 0)
  }

  /** Sends messages that lie one behind the other; each that has fds starts a sendmsg, and others may. */
  async #say(
    connection: FuzzConnection,
    messages: readonly Written[],
    cuts: number,
  ): Promise<void> {
    const { bytes } = this.#writer
    let start = messages[0]?.start ?? 0
    let count = 0
    let kinds: Written['fds'] = []
    const flush = async (end: number, whole = true): Promise<boolean> => {
      if (end === start) return true
      const part = bytes.subarray(start, end)
      this.#options.onSend(part, count, kinds)
      const fds = kinds.map((kind) => this.#gifts.get(kind))
      start = end
      count = 0
      kinds = []
      return connection.send(part, fds, whole)
    }
    for (const each of messages) {
      if (each.fds.length > 0) {
        if (!(await flush(each.start))) return
        kinds = each.fds
      }
      count++
      if (cuts > 0 && this.#random.once(cuts)) {
        const end = each.start + this.#random.between(1, each.end - each.start)
        if (!(await flush(end, end === each.end))) return
        if (this.#random.once(2)) await connection.received()
      }
    }
    await flush(messages.at(-1)?.end ?? start)
  }

  /** Ends a connection that has kept to the framing. */
  async #leave(connection: FuzzConnection): Promise<void> {
    if (this.#random.once(3)) return // with replies on their way
    if (this.#random.once(3)) {
      const [half] = this.#burst(1)
      if (half === undefined) return
      const length = this.#random.below(half.end)
      this.#options.onSend(this.#writer.bytes.subarray(0, length), 1, half.fds)
      const fds = half.fds.map((kind) => this.#gifts.get(kind))
      if (length > 0) await connection.send(this.#writer.bytes.subarray(0, length), fds)
      return
    }
    this.#writer.clear()
    const last = this.#grammar.say(wire.GET_INFO, alive)
    connection.expect(last)
    await this.#say(connection, [last], 0)
    await connection.settled()
  }
}
