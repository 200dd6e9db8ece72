/**
 * The protocol: takes the kernel's requests one by one and answers each, at once or when the file has answered.
 *
 * Knows no mount and no /dev/fuse, so bytes are all that a test needs.
 */
import * as fuse from '../abi/fuse.ts'
import { ErrnoError, errnoOf } from '../lib/errno.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import type { Tree } from '../lib/tree.ts'
import type { FuseChannel } from './channel.ts'
import { InodeTable } from './inode-table.ts'
import { Invalidation } from './invalidation.ts'
import type { OpenDirectory } from './open-directory.ts'
import type { OpenFile } from './open-file.ts'
import { type Answer, NO_REPLY, type Served } from './operation.ts'
import { OPERATIONS } from './operations.ts'
import { PendingCalls } from './pending-calls.ts'
import { Reply } from './reply.ts'
import { Request } from './request.ts'

/** What the kernel takes for no errno and would leave the request without an answer (ERESTARTSYS). */
const TOO_LARGE_ERRNO = 512
const ENOSYS = 38
const EIO = 5

export interface FuseSessionOptions {
  readonly log: Logger
  /** Of all that is in the tree, until it is changed. */
  readonly owner: { readonly uid: number; readonly gid: number }
  readonly clock: Clock
}

export class FuseSession {
  readonly #channel: FuseChannel
  readonly #log: Logger
  readonly #served: Served
  readonly #request = new Request()
  readonly #unsubscribe: () => void
  #nextHandle = 1
  #undo: (() => void) | undefined

  constructor(tree: Tree, channel: FuseChannel, { log, owner, clock }: FuseSessionOptions) {
    this.#channel = channel
    this.#log = log
    const table = new InodeTable(tree.root, owner)
    this.#served = {
      table,
      reply: new Reply(table),
      invalidation: new Invalidation(table, channel, clock),
      pending: new PendingCalls(),
      files: new Map<number, OpenFile>(),
      directories: new Map<number, OpenDirectory>(),
      newHandle: () => this.#nextHandle++,
      onUnheard: (undo) => {
        this.#undo = undo
      },
      complain: (message) => log.warn(message),
    }
    this.#unsubscribe = tree.subscribe((change) => {
      try {
        this.#served.invalidation.changed(change)
      } catch (error) {
        log.error('a change of the tree', error) // a bug; whoever made the change must not suffer
      }
    })
  }

  /** What is held for the kernel: nodes that it knows, files and directories open, calls under way. */
  get held(): { nodes: number; files: number; directories: number; calls: number } {
    const { table, files, directories, pending } = this.#served
    return {
      nodes: table.size,
      files: files.size,
      directories: directories.size,
      calls: pending.size,
    }
  }

  /** Takes one request; never throws. @param bytes are the caller's again afterwards */
  receive(bytes: Uint8Array, length: number): void {
    const request = this.#request
    request.unique = 0
    try {
      request.aim(bytes, length)
    } catch (error) {
      this.#log.warn(`FUSE: ${(error as Error).message}`)
      if (request.unique !== 0) this.#refuse(request.unique, error)
      return
    }
    const { unique } = request
    const operation = OPERATIONS.get(request.opcode)
    if (operation === undefined) {
      this.#send(this.#served.reply.refuse(unique, ENOSYS))
      return
    }
    this.#undo = undefined
    try {
      this.#answer(unique, operation.name, operation.run(request, this.#served))
    } catch (error) {
      this.#refuse(unique, error, operation.name)
    }
  }

  /** The kernel asks nothing any more: who still works for it is told. */
  close(): void {
    this.#unsubscribe()
    this.#served.invalidation.close()
    this.#served.pending.interruptAll()
    for (const file of this.#served.files.values()) file.close()
  }

  #answer(unique: number, name: string, answer: Answer): void {
    if (answer === NO_REPLY) return
    if (typeof answer === 'number') {
      this.#send(this.#served.reply.finish(unique, answer))
      return
    }
    this.#served.pending.wait(unique, answer.call, answer.body, {
      done: (build) => this.#send(this.#served.reply.finish(unique, build())),
      refused: (error) => this.#refuse(unique, error, name),
    })
  }

  #refuse(unique: number, error: unknown, name = 'FUSE'): void {
    let errno = errnoOf(error)
    if (errno >= TOO_LARGE_ERRNO) errno = EIO
    if (error instanceof ErrnoError) this.#log.debug(`${name}: ${error.message}`)
    else this.#log.error(`${name}: replying ${errno}`, error)
    const undo = this.#undo
    this.#undo = undefined
    undo?.()
    this.#send(this.#served.reply.refuse(unique, errno))
  }

  #send(length: number): void {
    const undo = this.#undo
    this.#undo = undefined
    try {
      if (!this.#channel.send(this.#served.reply.bytes, length)) undo?.()
    } catch (error) {
      undo?.()
      this.#log.error('FUSE: a reply', error) // the kernel finds it malformed: a bug of ours
    }
  }
}

/** Least room for requests: a whole WRITE, or the 64 KiB of an extended attribute that we refuse. */
export const MAX_REQUEST = Math.max(fuse.FUSE_MIN_READ_BUFFER, 128 * 1024)
