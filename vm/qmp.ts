/** QEMU's machine protocol: commands with their answers, and events, as lines of JSON over a UNIX socket. */
import { type Socket, connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { ErrnoError } from '../src/lib/errno.ts'

const RETRY_MS = 10

export interface QmpEvent {
  readonly event: string
  readonly data?: Readonly<Record<string, unknown>>
}

interface Message {
  readonly id?: number
  readonly return?: unknown
  readonly error?: { readonly class: string; readonly desc: string }
  readonly event?: string
  readonly data?: Readonly<Record<string, unknown>>
}

interface Waiter<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

export class Qmp {
  readonly #socket: Socket
  readonly #commands = new Map<number, Waiter<unknown> & { readonly name: string }>()
  readonly #events: QmpEvent[] = [] // that came and nobody has waited for yet
  readonly #waiting = new Map<Waiter<QmpEvent>, string>()
  #nextId = 1

  private constructor(socket: Socket) {
    this.#socket = socket
    const lines = createInterface({ input: socket })
    lines.on('line', (line) => this.#receive(JSON.parse(line) as Message))
    lines.on('error', () => {}) // of the socket: QEMU ended, 'close' follows
    socket.on('close', () => this.close())
  }

  /**
   * Connects once QEMU listens, and negotiates.
   *
   * @param signal gives up: QEMU has ended
   */
  static async connect(path: string, signal: AbortSignal): Promise<Qmp> {
    let socket: Socket | undefined
    while ((socket = await tryConnect(path)) === undefined) {
      await sleep(RETRY_MS, undefined, { signal })
    }
    const qmp = new Qmp(socket)
    // QEMU takes it once the machine is built, and answers after its greeting
    await qmp.execute('qmp_capabilities')
    return qmp
  }

  /**
   * @returns what the command returns
   * @throws ENODEV no such device · EINVAL QEMU refuses it otherwise · EPIPE QEMU ended
   */
  async execute(name: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#socket.destroyed) throw ended(name)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#commands.set(id, { name, resolve, reject })
      this.#socket.write(`${JSON.stringify({ execute: name, arguments: args, id })}\n`)
    })
  }

  /** The next event of this name that was not returned before, which may have come already. */
  async event(name: string, timeoutMs: number): Promise<QmpEvent> {
    const index = this.#events.findIndex(({ event }) => event === name)
    if (index >= 0) return this.#events.splice(index, 1)[0]!
    if (this.#socket.destroyed) throw ended(name)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter)
        reject(new ErrnoError('ETIMEDOUT', `qmp: no event ${name} within ${timeoutMs} ms`))
      }, timeoutMs)
      const waiter: Waiter<QmpEvent> = {
        resolve: (event) => {
          clearTimeout(timer)
          resolve(event)
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      this.#waiting.set(waiter, name)
    })
  }

  close(): void {
    this.#socket.destroy()
    for (const { name, reject } of this.#commands.values()) reject(ended(name))
    this.#commands.clear()
    for (const [{ reject }, name] of this.#waiting) reject(ended(name))
    this.#waiting.clear()
  }

  #receive(message: Message): void {
    if (message.event !== undefined) {
      this.#receiveEvent({ ...message, event: message.event })
      return
    }
    const command = message.id === undefined ? undefined : this.#commands.get(message.id)
    if (!command) return // the greeting
    this.#commands.delete(message.id!)
    const { error } = message
    if (!error) return command.resolve(message.return)
    const code = error.class === 'DeviceNotFound' ? 'ENODEV' : 'EINVAL'
    command.reject(new ErrnoError(code, `qmp ${command.name}: ${error.desc}`))
  }

  #receiveEvent(event: QmpEvent): void {
    for (const [waiter, name] of this.#waiting) {
      if (name !== event.event) continue
      this.#waiting.delete(waiter)
      waiter.resolve(event)
      return
    }
    this.#events.push(event)
  }
}

async function tryConnect(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    socket.on('error', () => resolve(undefined)) // not there yet, or not listening yet
  })
}

function ended(name: string): ErrnoError {
  return new ErrnoError('EPIPE', `qmp ${name}: QEMU ended`)
}
