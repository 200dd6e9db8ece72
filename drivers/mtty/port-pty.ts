/** A far end for people: a pseudo-terminal, with a link to it in a place that can be told in advance. */
import { lstatSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { ErrnoError, openPty } from 'mdevkit'
import { PeerPort } from './peer-port.ts'

export class PtyPort extends PeerPort {
  readonly #link: string

  private constructor(link: string, heedsRts: boolean) {
    super(openPty, heedsRts)
    this.#link = link
  }

  /** @throws EEXIST something that is no link is at `link` · what openPty throws */
  static open(link: string, heedsRts: boolean): PtyPort {
    const port = new PtyPort(link, heedsRts)
    try {
      replaceLink(port.place, link)
      return port
    } catch (error) {
      port.close()
      throw error
    }
  }

  override close(): void {
    super.close()
    if (linkTarget(this.#link) === this.place) unlinkSync(this.#link)
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
