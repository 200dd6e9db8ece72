/** The servers that are measured: processes that print their socket paths and serve one client per socket. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from './child.ts'
import type { Placement } from './pinning.ts'

/** What a server is to serve. */
export interface Served {
  readonly devices: number
  /** A type of the host's driver, see host.ts. */
  readonly device: 'registers' | 'memory' | 'bell'
}

/** How to start a server. */
export interface ServerSpec {
  readonly name: string
  /** Where measuring it makes sense: a server that polls cannot share its processor. */
  readonly placements: readonly Placement[]
  /** Whether it keeps what is written to it, so that the client can check that it does. */
  readonly keepsWrites: boolean
  /** The command that serves with sockets in `directory`, of its own, and prints `{"sockets":[…]}` when they can be connected to. */
  command(directory: string, served: Served): readonly string[]
}

export interface ServerOptions extends Partial<Served> {
  /** Where a directory for the server is made. */
  readonly directory: string
  readonly processor: number
}

/** A server that runs. */
export class Server implements AsyncDisposable {
  readonly spec: ServerSpec
  readonly sockets: readonly string[]
  readonly #child: Child

  static async start(spec: ServerSpec, options: ServerOptions): Promise<Server> {
    const { directory, processor, devices = 1, device = 'registers' } = options
    const own = mkdtempSync(join(directory, 's-')) // short: a socket's path has at most 107 bytes
    const child = await Child.start(spec.name, processor, spec.command(own, { devices, device }))
    try {
      const { sockets } = await child.next<{ sockets: string[] }>()
      return new Server(spec, sockets, child)
    } catch (error) {
      await child[Symbol.asyncDispose]()
      throw error
    }
  }

  private constructor(spec: ServerSpec, sockets: readonly string[], child: Child) {
    this.spec = spec
    this.sockets = sockets
    this.#child = child
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Sends a line and returns what is answered; hosts know some, see host.ts. @throws EIO it ended instead */
  async ask<T>(line: string): Promise<T> {
    this.#child.send(line)
    return this.#child.next<T>()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]()
  }
}

/** Things that end together, newest first. */
export class Running implements AsyncDisposable {
  readonly #things: AsyncDisposable[] = []

  add<T extends AsyncDisposable>(thing: T): T {
    this.#things.push(thing)
    return thing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const thing of this.#things.splice(0).toReversed()) await thing[Symbol.asyncDispose]()
  }
}
