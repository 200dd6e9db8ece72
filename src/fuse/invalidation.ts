/**
 * What the kernel is told of changes, so that it may remember what it has seen.
 *
 * Remembering is worth much: with nothing remembered a stat costs us 45 to 140 us for each name on its way, with all of it
 * 1 us. It must never show what is no more; but the notifications of old that take a name back wait for the lock of its
 * directory, which a process that waits for our reply may hold: sent by the thread that serves they end in a deadlock (16
 * calls were enough), sent by another they come at some time.
 *
 * So they are for tidying up only, and what is right rests on two that take no lock, which are sent before whoever made the
 * change goes on:
 * - names: from Linux 6.16 on (7.44) all names are taken back at once by a new epoch, which costs us 1 us and the next user of
 *   each a LOOKUP. Before that, names are not remembered at all.
 * - the attributes of a directory, which count and date what is in it, by an invalidation of no data.
 *
 * That a name is not there is never remembered, so one that comes need not be told.
 */
import * as fuse from '../abi/fuse.ts'
import { dataViewOf } from '../lib/struct.ts'
import type { TreeChange } from '../lib/tree.ts'
import type { FuseChannel } from './channel.ts'
import type { Inode } from './inode.ts'
import { isDirectory, type InodeTable } from './inode-table.ts'

/** Version from which on the kernel knows epochs. */
const EPOCH_MINOR = 44
/** Where it does, names are remembered for so long: a mistake would not last. */
const ENTRY_SECONDS = 60
/** Most names that wait to be tidied up; what is beyond, the kernel forgets in its own time. */
const MAX_TIDYING = 10_000
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
  readonly #tidying: Uint8Array[] = []
  #tidied: Promise<void> | undefined
  #knowsEpochs = false

  constructor(table: InodeTable, channel: FuseChannel) {
    this.#table = table
    this.#channel = channel
    this.#attributesView.off = NO_DATA
  }

  /** The kernel has said what it knows. @returns for how long it may remember a name, seconds */
  negotiated(minor: number): number {
    this.#knowsEpochs = minor >= EPOCH_MINOR
    return this.#knowsEpochs ? ENTRY_SECONDS : 0
  }

  /** Resolves when all that is under way has been sent. */
  async idle(): Promise<void> {
    await this.#tidied
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
    if (child !== undefined && inode.node.lookup(name) !== child.node) this.#gone(inode, child)
  }

  /** Somebody polls a file that has changed. */
  wake(kernelHandle: number): void {
    this.#pollView.kh = kernelHandle
    this.#channel.send(this.#poll, this.#poll.length)
  }

  /** Nobody has this node open any more; where it has gone, nothing else keeps the kernel from forgetting it. */
  released(inode: Inode): void {
    const { alive, lookups, parent } = inode
    if (!alive && lookups > 0 && parent !== undefined) this.#tidyLater(deletion(parent, inode))
  }

  #forgetAttributes(id: number): void {
    this.#attributesView.ino = id
    this.#channel.send(this.#attributes, this.#attributes.length)
  }

  #gone(directory: Inode, child: Inode): void {
    this.#table.kill(child)
    if (this.#knowsEpochs) this.#channel.send(this.#epoch, this.#epoch.length)
    this.#tidyLater(deletion(directory, child))
  }

  #tidyLater(notice: Uint8Array): void {
    if (this.#tidying.length >= MAX_TIDYING) return
    this.#tidying.push(notice)
    this.#tidied ??= this.#tidy()
  }

  /**
   * One after the other, so that no more than one of the few threads of libuv's pool waits for a lock. Without this the
   * kernel would keep what has gone until it is short of memory, and we with it.
   */
  async #tidy(): Promise<void> {
    for (let next; (next = this.#tidying.shift()) !== undefined;)
      await this.#channel.sendOnThread(next)
    this.#tidied = undefined
  }
}

function notification(code: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  bytes.set(fuse.FuseOutHeader.encode({ len: length, error: code, unique: 0 }))
  return bytes
}

/**
 * That an entry has gone. A file's number is left out: else the kernel would wait for its lock, which a write that we have not
 * answered holds, with that of the directory in its hands.
 */
function deletion(parent: Inode, inode: Inode): Uint8Array {
  const text = Buffer.from(`${inode.name}\0`)
  const fixed = HEADER + fuse.FuseNotifyDeleteOut.size
  const bytes = notification(fuse.FUSE_NOTIFY_DELETE, fixed + text.length)
  const fields = {
    parent: parent.id,
    child: isDirectory(inode) ? inode.id : 0,
    namelen: text.length - 1,
  }
  bytes.set(fuse.FuseNotifyDeleteOut.encode(fields), HEADER)
  bytes.set(text, fixed)
  return bytes
}
