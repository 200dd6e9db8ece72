/**
 * A far end for programs: a UNIX stream socket, one peer at a time.
 *
 * A peer that only shuts its sending side down stays until it closes. One that closes with more unread input than the
 * buffer here holds is noticed when the guest has read on, or sends: then Node drops what we had not taken from it yet.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { ErrnoError } from 'mdevkit'
import { PeerLine } from './peer-line.ts'
import type { Port } from './port.ts'

/** Longest path of a UNIX socket, bytes: sun_path of unix(7) without its NUL. Node cuts longer ones off in silence. */
const MAX_PATH = 107
/** Input held for the guest before the peer has to wait. */
const INPUT_SIZE = 64 * 1024
/** How often a peer that has shut its sending side down is asked whether it is still there. */
const HALF_OPEN_PROBE_MS = 200

export class SocketPort extends PeerLine implements Port {
  readonly place: string
  readonly #server: Server
  readonly #chunks: Uint8Array[] = []
  #queued = 0
  #peer: Socket | undefined
  #writing = false
  #probe: NodeJS.Timeout | undefined

  private constructor(server: Server, path: string, heedsRts: boolean) {
    super(heedsRts)
    this.place = path
    this.#server = server
    server.on('connection', (socket) => this.#accept(socket))
  }

  /**
   * Listens at `path`; a socket file that nobody listens at any more is replaced.
   *
   * @throws ENAMETOOLONG · EADDRINUSE somebody listens there, or it is no socket
   */
  static async open(path: string, heedsRts: boolean): Promise<SocketPort> {
    const length = Buffer.byteLength(path)
    if (length > MAX_PATH) {
      throw new ErrnoError(
        'ENAMETOOLONG',
        `socket ${path}: ${length} bytes, at most ${MAX_PATH} are possible`,
      )
    }
    return new SocketPort((await listen(path)) ?? (await replaceStale(path)), path, heedsRts)
  }

  close(): void {
    this.flush()
    clearTimeout(this.#probe)
    this.#peer?.destroy()
    if (this.#server.listening) this.#server.close() // and unlinks the path
  }

  protected override nextChunk(): Uint8Array | undefined {
    const chunk = this.#chunks.shift()
    if (chunk === undefined) return undefined
    if (this.#queued >= INPUT_SIZE && this.#queued - chunk.length < INPUT_SIZE) this.#peer?.resume()
    this.#queued -= chunk.length
    return chunk
  }

  /** One write is under way at a time, so Node holds no more than one copy of our buffer. */
  protected override transmit(bytes: Uint8Array): number {
    const peer = this.#peer
    if (peer === undefined || this.#writing) return 0
    this.#writing = true
    peer.write(bytes.slice(), () => {
      if (peer !== this.#peer) return
      this.#writing = false
      this.flush()
    })
    return bytes.length
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {}) // 'close' follows, and is all that matters
    if (this.#peer !== undefined) {
      socket.destroy()
      return
    }
    this.#peer = socket
    this.#writing = false
    if (this.#queued >= INPUT_SIZE) socket.pause() // what the last peer left is read first
    socket.on('data', (chunk: Uint8Array) => {
      this.#chunks.push(chunk)
      this.#queued += chunk.length
      if (this.#queued >= INPUT_SIZE) socket.pause()
      this.inputArrived()
    })
    socket.on('end', () => this.#askWhetherGone(socket))
    socket.on('close', () => {
      clearTimeout(this.#probe)
      this.#peer = undefined
      this.setPresent(false)
    })
    this.setPresent(true)
  }

  /**
   * End of input says either that the peer has closed, or that it has only shut its sending side down. Writing nothing
   * tells: unix_stream_sendmsg() fails with EPIPE once the peer is gone, and Node then closes the socket.
   */
  #askWhetherGone(socket: Socket): void {
    if (!this.#writing) socket.write('')
    this.#probe = setTimeout(() => this.#askWhetherGone(socket), HALF_OPEN_PROBE_MS).unref()
  }
}

/** @returns undefined when the path is taken */
function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true })
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined)
      else reject(error)
    })
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve(server)
    })
  })
}

async function replaceStale(path: string): Promise<Server> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() && (await isDead(path))) {
    unlinkSync(path)
    const server = await listen(path)
    if (server !== undefined) return server
  }
  throw new ErrnoError('EADDRINUSE', `socket ${path}: taken`)
}

/** Whether the process that made this socket file is gone. */
function isDead(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(false)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
  })
}
