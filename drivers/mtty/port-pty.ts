/** A far end for people: a pseudo-terminal, with a link to it in a place that can be told in advance. */
import { lstatSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { ErrnoError, openPty, type Pty } from 'mdevkit'
import { PeerLine } from './peer-line.ts'
import type { Port } from './port.ts'

const CHUNK_SIZE = 4096

export class PtyPort extends PeerLine implements Port {
  readonly #pty: Pty
  readonly #link: string
  readonly #chunk = new Uint8Array(CHUNK_SIZE)
  #readable = false

  private constructor(link: string, heedsRts: boolean) {
    super(heedsRts)
    this.#link = link
    this.#pty = openPty({
      onReadable: () => {
        this.#readable = true
        this.inputArrived()
      },
      onWritable: () => this.flush(),
      onPresence: (present) => this.setPresent(present),
    })
  }

  /** @throws EEXIST something that is no link is at `link` · what openPty throws */
  static open(link: string, heedsRts: boolean): PtyPort {
    const port = new PtyPort(link, heedsRts)
    try {
      replaceLink(port.place, link)
      return port
    } catch (error) {
      port.#pty.close()
      throw error
    }
  }

  get place(): string {
    return this.#pty.path
  }

  close(): void {
    this.flush()
    this.#pty.close()
    if (linkTarget(this.#link) === this.place) unlinkSync(this.#link)
  }

  protected override nextChunk(): Uint8Array | undefined {
    if (!this.#readable) return undefined
    const count = this.#pty.read(this.#chunk)
    this.#readable = count > 0
    return this.#readable ? this.#chunk.subarray(0, count) : undefined
  }

  protected override transmit(bytes: Uint8Array): number {
    return this.#pty.write(bytes)
  }
}

/** A link that a dead host left behind is replaced, as nobody else's links are in an mdev's directory. */
function replaceLink(target: string, link: string): void {
  const there = lstatSync(link, { throwIfNoEntry: false })
  if (there?.isSymbolicLink()) unlinkSync(link)
  else if (there !== undefined)
    throw new ErrnoError('EEXIST', `link ${link}: something else is there`)
  symlinkSync(target, link)
}

function linkTarget(link: string): string | undefined {
  return lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink()
    ? readlinkSync(link)
    : undefined
}
