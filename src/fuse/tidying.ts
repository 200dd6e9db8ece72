/**
 * Has the kernel forget what has left the tree: else it would keep it until it is short of memory, and we with it.
 *
 * By PRUNE (7.45, Linux 6.18), which waits for nobody. It leaves alone what somebody uses, so it is sent again, ever more
 * seldom. Older kernels are told nothing: what they could be told (DELETE, INVAL_ENTRY) waits for the lock of a directory, so
 * another thread would have to send it; and where we are killed while it waits, that thread keeps the connection open, so that
 * nobody who waits for an answer of ours can be ended any more.
 */
import * as fuse from '../abi/fuse.ts'
import { BackOff } from '../lib/back-off.ts'
import type { Clock } from '../lib/clock.ts'
import type { FuseChannel } from './channel.ts'
import type { InodeTable } from './inode-table.ts'
import { notification } from './notification.ts'

/** Version from which on the kernel knows PRUNE. */
const PRUNE_MINOR = 45
/** Between two times. The first is long enough for who has removed something to close what they did it by. */
const PAUSE = { firstMs: 20, longestMs: 60_000 }
/** Most nodes that are told of at a time. */
const MAX_NODES = 1000

const HEADER = fuse.FuseOutHeader.size
const FIXED = HEADER + fuse.FuseNotifyPruneOut.size
const NODE_SIZE = 8

export class Tidying {
  readonly #table: InodeTable
  readonly #channel: FuseChannel
  readonly #clock: Clock
  readonly #pause = new BackOff(PAUSE)
  #cancel: (() => void) | undefined
  #knowsPrune = false

  constructor(table: InodeTable, channel: FuseChannel, clock: Clock) {
    this.#table = table
    this.#channel = channel
    this.#clock = clock
  }

  /** The kernel has said what it knows. */
  negotiated(minor: number): void {
    this.#knowsPrune = minor >= PRUNE_MINOR
  }

  /** Something has left the tree, or is not used any more. */
  soon(): void {
    if (!this.#knowsPrune || (this.#cancel !== undefined && this.#pause.failures === 1)) return
    this.#cancel?.()
    this.#pause.succeeded()
    this.#later()
  }

  close(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  #later(): void {
    this.#cancel = this.#clock.after(this.#pause.failed(), () => this.#tidy())
  }

  /** What is in a directory comes before it: it is used as long as that is remembered. */
  #tidy(): void {
    this.#cancel = undefined
    const ids: number[] = []
    for (const { id } of this.#table.gone) {
      ids.push(id)
      if (ids.length === MAX_NODES) this.#prune(ids.splice(0))
    }
    if (ids.length > 0) this.#prune(ids)
    if (this.#table.gone.size > 0) this.#later() // it has still to say what it has forgotten
  }

  #prune(ids: readonly number[]): void {
    const bytes = notification(fuse.FUSE_NOTIFY_PRUNE, FIXED + ids.length * NODE_SIZE)
    bytes.set(fuse.FuseNotifyPruneOut.encode({ count: ids.length, spare: 0n }), HEADER)
    bytes.set(new Uint8Array(BigUint64Array.from(ids, BigInt).buffer), FIXED)
    try {
      this.#channel.send(bytes, bytes.length)
    } catch {
      // the kernel has no memory for it: the next time
    }
  }
}
