/**
 * What the kernel is told of changes, so that it may remember what it has seen.
 *
 * Remembering is worth much: with nothing remembered a stat costs us 45 to 140 us for each name on its way, with all of it
 * 1 us. It must never show what is no more; but the notifications of old that take a name back wait for the lock of its
 * directory, which a process that waits for our reply may hold: sent by the thread that serves they end in a deadlock (16
 * calls were enough), sent by another they come at some time, and outlive us where we are killed.
 *
 * So it rests on two that take no lock, which are sent before whoever made the change goes on:
 * - names: from Linux 6.16 on (7.44) all names are taken back at once by a new epoch, which costs us 1 us and the next user of
 *   each a LOOKUP. Before that, names are not remembered at all.
 * - the attributes of a directory, which count and date what is in it, by an invalidation of no data.
 *
 * That a name is not there is never remembered, so one that comes need not be told.
 */
import * as fuse from '../abi/fuse.ts'
import { dataViewOf } from '../lib/struct.ts'
import type { TreeChange } from '../lib/tree.ts'
import type { Clock } from '../lib/clock.ts'
import type { FuseChannel } from './channel.ts'
import type { Inode } from './inode.ts'
import { isDirectory, type InodeTable } from './inode-table.ts'
import { notification } from './notification.ts'
import { Tidying } from './tidying.ts'

/** Version from which on the kernel knows epochs. */
const EPOCH_MINOR = 44
/** Where it does, names are remembered for so long: a mistake would not last. */
const ENTRY_SECONDS = 60
const HEADER = fuse.FuseOutHeader.size
const NO_DATA = 0xffff_ffff_ffff_ffffn // an offset of -1

export class Invalidation {
  readonly #table: InodeTable
  readonly #channel: FuseChannel
  readonly #epoch = notification(fuse.FUSE_NOTIFY_INC_EPOCH, HEADER)
  readonly #attributes = notification(
    fuse.FUSE_NOTIFY_INVAL_INODE,
    HEADER + fuse.FuseNotifyInvalInodeOut.size,
  )
  readonly #attributesView = fuse.FuseNotifyInvalInodeOut.view().aim(
    dataViewOf(this.#attributes),
    HEADER,
  )
  readonly #poll = notification(fuse.FUSE_NOTIFY_POLL, HEADER + fuse.FuseNotifyPollWakeupOut.size)
  readonly #pollView = fuse.FuseNotifyPollWakeupOut.view().aim(dataViewOf(this.#poll), HEADER)
  readonly #tidying: Tidying
  #knowsEpochs = false

  constructor(table: InodeTable, channel: FuseChannel, clock: Clock) {
    this.#table = table
    this.#channel = channel
    this.#tidying = new Tidying(table, channel, clock)
    this.#attributesView.off = NO_DATA
  }

  /** The kernel has said what it knows. @returns for how long it may remember a name, seconds */
  negotiated(minor: number): number {
    this.#knowsEpochs = minor >= EPOCH_MINOR
    this.#tidying.negotiated(minor)
    return this.#knowsEpochs ? ENTRY_SECONDS : 0
  }

  /** The tree has changed. */
  changed({ node, name }: TreeChange): void {
    const inode = this.#table.known(node)
    if (inode === undefined) return // nobody has ever looked at it
    if (name === undefined || !isDirectory(inode)) {
      inode.touch()
      return
    }
    inode.subdirectories = undefined
    inode.mtime = inode.ctime = Date.now()
    if (inode.lookups > 0 || inode === this.#table.root) this.#forgetAttributes(inode.id)
    const child = inode.children.get(name)
    if (child !== undefined && inode.node.lookup(name) !== child.node) this.#gone(child)
  }

  /** Somebody polls a file that has changed. */
  wake(kernelHandle: number): void {
    this.#pollView.kh = kernelHandle
    this.#channel.send(this.#poll, this.#poll.length)
  }

  /** Nobody has this node open any more; where it has gone, nothing else keeps the kernel from forgetting it. */
  released(inode: Inode): void {
    if (!inode.alive && inode.lookups > 0) this.#tidying.soon()
  }

  /** The kernel is told nothing any more. */
  close(): void {
    this.#tidying.close()
  }

  #forgetAttributes(id: number): void {
    this.#attributesView.ino = id
    this.#channel.send(this.#attributes, this.#attributes.length)
  }

  #gone(child: Inode): void {
    this.#table.kill(child)
    if (this.#knowsEpochs) this.#channel.send(this.#epoch, this.#epoch.length)
    this.#tidying.soon()
  }
}
