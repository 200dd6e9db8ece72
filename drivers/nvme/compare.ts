/** Compare (6.6): one at a time, since each needs its data twice. */
import type { ErrnoError } from 'mdevkit'
import type { Command } from './command.ts'
import { endBadly } from './command-error.ts'
import type { IoContext } from './io-commands.ts'
import { STATUS } from './spec.ts'

type CompareContext = Pick<IoContext, 'log' | 'namespace' | 'statistics' | 'transfer' | 'work'>

export class Compare {
  readonly #context: CompareContext
  readonly #waiting: Command[] = []
  #busy = false

  constructor(context: CompareContext) {
    this.#context = context
  }

  /** Begins a comparison of `command.length` bytes at `command.offset`, or has it wait for others. */
  begin(command: Command): void {
    this.#waiting.push(command)
    if (!this.#busy) void this.#run()
  }

  async #run(): Promise<void> {
    this.#busy = true
    for (;;) {
      const command = this.#waiting.shift()
      if (command === undefined) break
      if (!command.queue.closed) await this.#compare(command)
    }
    this.#busy = false
  }

  async #compare(command: Command): Promise<void> {
    try {
      const theirs = Buffer.allocUnsafe(command.length)
      await this.#context.transfer.fromGuest(command, theirs)
      const ours = Buffer.allocUnsafe(command.length)
      await this.#read(command, ours)
      this.#context.statistics.countRead(command.length)
      if (ours.equals(theirs)) command.succeed()
      else command.refuse(STATUS.COMPARE_FAILURE)
    } catch (error) {
      endBadly(command, error, 'read', this.#context)
    }
    this.#context.work()
  }

  async #read(command: Command, buffer: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const done = (error?: ErrnoError) => (error === undefined ? resolve() : reject(error))
      this.#context.namespace.slice.readInto(command.offset, buffer, done)
      this.#context.work()
    })
  }
}
