/** Definitions as last read: a file is read again when it is another than then. */
import { type BigIntStats, lstatSync } from 'node:fs'
import { type Definition, parseDefinition } from '../mdev/definition.ts'
import { readSmallFile } from '../os/atomic-file.ts'

/** Far more than any definition needs. */
const MAX_FILE = 1024 * 1024
/** A file that has changed so shortly ago, ns, may change again without a newer time: the kernel's clock ticks. */
const RACY = 100_000_000n
/** Most that are kept: what is beyond it is read each time. */
const MAX_KEPT = 100_000

interface Kept {
  readonly stamp: string
  readonly definition: Definition
}

export class DefinitionCache {
  readonly #kept = new Map<string, Kept>()

  /** @throws ENOENT, EACCES · EINVAL, ELOOP, EFBIG it is no definition */
  definitionAt(path: string): Definition {
    const before = Date.now()
    const stat = this.#look(path)
    const stamp = stampOf(stat)
    const kept = this.#kept.get(path)
    if (kept?.stamp === stamp) return kept.definition
    this.#kept.delete(path)
    const definition = parseDefinition(readSmallFile(path, MAX_FILE))
    const settled = stat.ctimeNs + RACY < BigInt(before) * 1_000_000n
    if (settled && this.#kept.size < MAX_KEPT) this.#kept.set(path, { stamp, definition })
    return definition
  }

  #look(path: string): BigIntStats {
    try {
      return lstatSync(path, { bigint: true })
    } catch (error) {
      this.#kept.delete(path)
      throw error
    }
  }
}

/** Whoever changes a file changes this, whatever else they set back. */
function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
}
