/** Commands that zero much of the disk, which takes long: they are done piece by piece, and can be called off in between. */
import type { ErrnoError, Logger } from 'mdevkit'
import type { Command } from './command.ts'
import { endBadly } from './command-error.ts'
import type { Namespace } from './namespace.ts'
import type { Statistics } from './statistics.ts'

export interface LongCommandsContext {
  readonly log: Logger
  readonly namespace: Namespace
  readonly statistics: Statistics
  /** There is something to do. */
  readonly work: () => void
}

export class LongCommands {
  readonly #context: LongCommandsContext
  /** Those under way, each with a promise of its end. */
  readonly #running = new Map<Command, Promise<void>>()

  constructor(context: LongCommandsContext) {
    this.#context = context
  }

  /**
   * Carries out a command, which ends by itself.
   *
   * @param steps   what it is about: calls of {@link clear}, and what goes before
   * @param succeed called when all are done, instead of ending the command
   */
  run(command: Command, steps: () => Promise<void>, succeed = () => command.succeed()): void {
    this.#running.set(command, this.#carryOut(command, steps, succeed))
  }

  /** A part of the slice reads as zeros from then on. @throws what the disk says; ECANCELED if the command is not wanted any more */
  async clear(
    command: Command,
    how: 'discard' | 'zero',
    offset: number,
    length: number,
  ): Promise<void> {
    const { namespace, work } = this.#context
    await new Promise<void>((resolve, reject) => {
      const done = (error?: ErrnoError) => (error === undefined ? resolve() : reject(error))
      namespace.slice[how](offset, length, done, command.isWanted)
      work()
    })
  }

  /** Calls a command off. @returns whether it was under way; it has ended then, one way or the other */
  async abort(queue: number, id: number): Promise<boolean> {
    for (const [command, ended] of this.#running) {
      if (command.queue.id !== queue || command.id !== id) continue
      command.aborted = true
      this.#context.namespace.slice.dropUnwanted()
      await ended
      return true
    }
    return false
  }

  async #carryOut(
    command: Command,
    steps: () => Promise<void>,
    succeed: () => void,
  ): Promise<void> {
    try {
      await steps()
      succeed()
    } catch (error) {
      endBadly(command, error, 'write', this.#context)
    }
    this.#running.delete(command)
    this.#context.work()
  }
}
