/**
 * One open file, read and written as a file of sysfs is.
 *
 * A read at offset 0 takes down what the file says; reads that go on from where the last one ended see the rest of just
 * that, any other read takes it down anew (seq_file.c). Of what a file says no more is shown than a page less one byte, in whole characters, and
 * one write(2) takes no more than a page: the rest is the next write's (fs/sysfs/file.c, fs/kernfs/file.c).
 */
import { EPOLLERR, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDNORM, EPOLLWRNORM } from '../abi/epoll.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { TreeCall, TreeFile } from '../lib/tree.ts'
import type { Inode, Watcher } from './inode.ts'
import { pathOf } from './inode-table.ts'

export type FileInode = Inode & { readonly node: TreeFile }

export const PAGE_SIZE = 4096

/** Whatever a file is, one can read and write it without waiting; whether it refuses is another matter. */
const ALWAYS_READY = EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM
const CHANGED = EPOLLERR | EPOLLPRI

export class OpenFile implements Watcher {
  readonly inode: FileInode
  readonly #wake: (kernelHandle: number) => void
  readonly #complain: (message: string) => void
  #content: Uint8Array | undefined
  /** Where a read goes on from. */
  #next = 0
  /** Which change of the file it has read. */
  #event = 0
  #kernelHandle: number | undefined

  /**
   * @param wake     tells the kernel that poll has something to say
   * @param complain of a file that says too much
   */
  constructor(
    inode: FileInode,
    wake: (kernelHandle: number) => void,
    complain: (message: string) => void,
  ) {
    this.inode = inode
    this.#wake = wake
    this.#complain = complain
  }

  /** @throws ENODEV the file is gone · EACCES it cannot be read · what the file refuses with */
  read(offset: number, size: number, call: TreeCall): Uint8Array | Promise<Uint8Array> {
    if (offset > 0 && offset === this.#next && this.#content !== undefined)
      return this.#deliver(this.#content, offset, size)
    const { node } = this.#alive()
    if (node.read === undefined)
      throw new ErrnoError('EACCES', `${pathOf(this.inode)}: cannot be read`)
    this.#event = this.inode.event // before it is taken down: what changes meanwhile is a change
    const text = node.read(call)
    return typeof text === 'string'
      ? this.#deliver(this.#encode(text), offset, size)
      : text.then((later) => this.#deliver(this.#encode(later), offset, size))
  }

  /**
   * Writes what one write(2) has brought, wherever to: offsets say nothing here.
   *
   * @param bytes the file's to keep
   * @returns nothing once it is done, or a promise of that
   * @throws ENODEV the file is gone · EACCES it cannot be written · what the file refuses with
   */
  write(bytes: Uint8Array, call: TreeCall): void | Promise<void> {
    const { node } = this.#alive()
    if (node.write === undefined)
      throw new ErrnoError('EACCES', `${pathOf(this.inode)}: cannot be written`)
    return bytes.length === 0 ? undefined : node.write(bytes, call)
  }

  /** What poll(2) says now. @param kernelHandle to be told by of the next change; undefined where nobody waits */
  poll(kernelHandle: number | undefined): number {
    if (kernelHandle !== undefined) {
      this.#kernelHandle = kernelHandle
      this.inode.watchers.add(this)
    }
    const news = !this.inode.alive || this.#event !== this.inode.event
    return news ? ALWAYS_READY | CHANGED : ALWAYS_READY
  }

  changed(): void {
    this.inode.watchers.delete(this)
    if (this.#kernelHandle !== undefined) this.#wake(this.#kernelHandle)
  }

  close(): void {
    this.inode.watchers.delete(this)
  }

  #alive(): FileInode {
    if (this.inode.alive) return this.inode
    throw new ErrnoError('ENODEV', `${pathOf(this.inode)}: gone`)
  }

  #encode(text: string): Uint8Array {
    const bytes = Buffer.from(text)
    if (bytes.length < PAGE_SIZE) return bytes
    const shown = bytes.subarray(0, lastWhole(bytes, PAGE_SIZE - 1))
    if (!this.inode.saysTooMuch) {
      this.inode.saysTooMuch = true // once: whoever may read it may do so all day
      const said = `says ${bytes.length} bytes, of which ${shown.length} are shown`
      this.#complain(`${pathOf(this.inode)}: ${said}`)
    }
    return shown
  }

  #deliver(content: Uint8Array, offset: number, size: number): Uint8Array {
    const part = content.subarray(offset, offset + size)
    this.#content = content
    this.#next = offset + part.length
    return part
  }
}

/** Where the last character before `end` ends, in UTF-8. */
function lastWhole(bytes: Uint8Array, end: number): number {
  let at = end
  while (at > 0 && (bytes[at]! & 0xc0) === 0x80) at--
  return at
}
