/** The servers that are measured: processes that print their socket paths and serve one client per socket. */
import { Child } from './child.ts'
import type { Placement } from './pinning.ts'

/** How to start a server. */
export interface ServerSpec {
  readonly name: string
  /** Where measuring it makes sense: a server that polls cannot share its processor. */
  readonly placements: readonly Placement[]
  /** Whether it keeps what is written to it, so that the client can check that it does. */
  readonly keepsWrites: boolean
  /**
   * The command that serves `devices` devices with sockets under `directory`, of its own, and prints
   * `{"sockets":[…]}` when they can be connected to.
   */
  command(directory: string, devices: number): readonly string[]
}

/** A server that runs. */
export class Server implements AsyncDisposable {
  readonly spec: ServerSpec
  readonly sockets: readonly string[]
  readonly #child: Child

  static async start(
    spec: ServerSpec,
    options: {
      readonly directory: string
      readonly processor: number
      readonly devices?: number
    },
  ): Promise<Server> {
    const command = spec.command(options.directory, options.devices ?? 1)
    const child = await Child.start(spec.name, options.processor, command)
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]()
  }
}
