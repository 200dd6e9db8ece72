/** One file of the tree: one value, shown and perhaps stored. */
import { ErrnoError } from '../lib/errno.ts'
import type { TreeCall, TreeFile } from '../lib/tree.ts'
import { interruptible } from './interruptible.ts'

export interface AttributeMethods {
  /** What it says now. */
  readonly show?: (call: TreeCall) => string | Promise<string>
  readonly store?: (bytes: Uint8Array, call: TreeCall) => void | Promise<void>
}

export class AttributeFile implements TreeFile {
  readonly kind = 'file'
  readonly mode: number
  readonly read?: NonNullable<TreeFile['read']>
  readonly write?: NonNullable<TreeFile['write']>
  #removed = false

  constructor(mode: number, { show, store }: AttributeMethods) {
    this.mode = mode
    if (show !== undefined) {
      this.read = (call) => {
        this.#mustBeThere()
        const shown = show(call)
        return typeof shown === 'string' ? shown : interruptible(shown, call.signal)
      }
    }
    if (store !== undefined) {
      this.write = (bytes, call) => {
        this.#mustBeThere()
        const stored = store(bytes, call)
        return stored === undefined ? undefined : interruptible(stored, call.signal)
      }
    }
  }

  /** It is no more; those who have it open get ENODEV. */
  remove(): void {
    this.#removed = true
  }

  #mustBeThere(): void {
    if (this.#removed) throw new ErrnoError('ENODEV', 'what this file was of has been removed')
  }
}

/** A file that says the same always. */
export function constantFile(mode: number, text: string, accepts?: RegExp): AttributeFile {
  const show = () => text
  if (accepts === undefined) return new AttributeFile(mode, { show })
  return new AttributeFile(mode, { show, store: acceptor(accepts) })
}

/** Stores nothing: takes what the kernel takes. */
export function acceptor(accepts: RegExp): (bytes: Uint8Array) => void {
  return (bytes) => {
    const text = Buffer.from(bytes).toString('latin1')
    if (!accepts.test(text))
      throw new ErrnoError('EINVAL', `${JSON.stringify(text)}: expected ${accepts.source}`)
  }
}

/** A value as a line. */
export function line(value: string): string {
  return value.endsWith('\n') ? value : `${value}\n`
}
