/** A block device over a file; root only. */
import { execFileSync } from 'node:child_process'
import { truncateSync } from 'node:fs'
import { Scratch } from './scratch.ts'

export class LoopDevice implements Disposable {
  readonly #scratch = new Scratch()
  /** The file under it. */
  readonly backing: string
  readonly path: string

  /** @param size bytes */
  constructor(size: number) {
    this.backing = this.#scratch.write('backing', '')
    truncateSync(this.backing, size)
    this.path = losetup('--find', '--show', this.backing).trim()
  }

  [Symbol.dispose](): void {
    losetup('--detach', this.path)
    this.#scratch[Symbol.dispose]()
  }
}

function losetup(...args: readonly string[]): string {
  try {
    return execFileSync('losetup', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    throw new Error('losetup: needs root, util-linux, and loop devices (modprobe loop)', {
      cause: error,
    })
  }
}
