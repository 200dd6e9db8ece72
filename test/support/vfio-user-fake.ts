/** A vfio-user server that answers what a test says, right or wrong; over node:net, so that it shares nothing with ours. */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { Scratch } from './scratch.ts'
import { message, u16, VERSION } from './vfio-user-raw.ts'

/** One request as it came. */
export interface Request {
  readonly id: number
  readonly command: number
  readonly flags: number
  readonly payload: Buffer
}

/** What to do with a request. */
export type Script = (request: Request, socket: Socket) => void

export class FakeServer implements AsyncDisposable {
  readonly path: string
  readonly requests: Request[] = []
  readonly #server: Server
  readonly #scratch: Scratch
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server, scratch: Scratch) {
    this.#server = server
    this.#scratch = scratch
    this.path = join(scratch.path, 'cntrl')
  }

  static async start(script: Script): Promise<FakeServer> {
    const server = createServer()
    const fake = new FakeServer(server, new Scratch())
    server.on('connection', (socket) => fake.#serve(socket, script))
    server.listen(fake.path)
    await once(server, 'listening')
    return fake
  }

  /** One that answers VERSION as it should, and runs `script` for the rest. */
  static async startAfterVersion(script: Script): Promise<FakeServer> {
    return FakeServer.start((request, socket) => {
      if (request.command === VERSION) answer(socket, request, u16(0, 0))
      else script(request, socket)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
    this.#scratch[Symbol.dispose]()
  }

  #serve(socket: Socket, script: Script): void {
    let received = Buffer.alloc(0)
    this.#sockets.add(socket)
    socket.on('error', () => {}) // a client that leaves in the middle is what some tests are about
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes])
      while (received.length >= 16 && received.length >= received.readUInt32LE(4)) {
        const size = received.readUInt32LE(4)
        const request = {
          id: received.readUInt16LE(0),
          command: received.readUInt16LE(2),
          flags: received.readUInt32LE(8),
          payload: received.subarray(16, size),
        }
        received = received.subarray(size)
        this.requests.push(request)
        script(request, socket)
      }
    })
  }
}

/** A reply that says success. */
export function answer(
  socket: Socket,
  { id, command }: Request,
  payload?: Uint8Array,
  header: { flags?: number; error?: number } = {},
): void {
  socket.write(message(command, payload, { id, flags: 1, ...header }))
}
