/** The definitions of a machine, as files: `<directory>/<parent>/<uuid>`, which mdevctl reads and writes too. */
import { readdirSync, type Dirent, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '../host/paths.ts'
import { describeError, ErrnoError } from '../lib/errno.ts'
import { parseUuid } from '../lib/uuid.ts'
import type { DefinedMdev, DefinitionFault, DefinitionKey } from '../mdev/control-plane.ts'
import { type Definition, formatDefinition } from '../mdev/definition.ts'
import { syncDirectory, UNFINISHED, writeFileAtomic } from '../os/atomic-file.ts'
import { DefinitionCache } from './definition-cache.ts'

/** What can be a parent's name: one part of a path, and no file that is hidden. */
const PARENT_NAME = /^[^./\0][^/\0]*$/

/** Where mdevctl 1.2 has its scripts, among the parents. */
const SCRIPTS = 'scripts.d'

export class DefinitionStore {
  readonly #directory: string
  readonly #read = new DefinitionCache()

  /** @param directory such as /etc/mdevctl.d; made when the first definition is written */
  constructor(directory: string) {
    this.#directory = directory
  }

  /**
   * Everything that is defined, sorted by parent and UUID; files that cannot be read as definitions are told of, and
   * skipped.
   *
   * @throws EACCES, ENOTDIR, … the directory itself cannot be read
   */
  list(): { readonly mdevs: readonly DefinedMdev[]; readonly faults: readonly DefinitionFault[] } {
    const mdevs: DefinedMdev[] = []
    const faults: DefinitionFault[] = []
    for (const parent of entriesOf(this.#directory)) {
      if (!parent.isDirectory()) continue // files beside the parents' directories, and links, are none of ours
      if (parent.name === SCRIPTS) continue
      const directory = join(this.#directory, parent.name)
      try {
        for (const { name } of entriesOf(directory)) {
          if (name.startsWith(UNFINISHED)) continue
          try {
            const uuid = uuidOfFile(name)
            mdevs.push({
              parent: parent.name,
              uuid,
              definition: this.#parse(join(directory, name)),
            })
          } catch (error) {
            faults.push({ path: join(directory, name), message: describeError(error) })
          }
        }
      } catch (error) {
        faults.push({ path: directory, message: describeError(error) })
      }
    }
    return { mdevs: mdevs.toSorted(byParentAndUuid), faults }
  }

  /** The definitions of a UUID, by parent; files that are none are passed over. */
  findReadable(uuid: string): readonly DefinedMdev[] {
    return this.#parents().flatMap((parent) => {
      try {
        return this.find(uuid, parent)
      } catch {
        return [] // list() says why
      }
    })
  }

  /** The definitions of a UUID: that of one parent, or those of all. @throws EINVAL, ELOOP, EFBIG one is no definition */
  find(uuid: string, parent?: string): readonly DefinedMdev[] {
    const parents = parent === undefined ? this.#parents() : [parent]
    return parents.flatMap((name) => {
      const key = { parent: name, uuid: parseUuid(uuid) }
      try {
        return [{ parent: key.parent, uuid: key.uuid, definition: this.#parse(this.#path(key)) }]
      } catch (error) {
        if (isMissing(error)) return []
        throw error
      }
    })
  }

  /** @throws ENOENT it is not defined there · EINVAL, ELOOP, EFBIG its file is no definition */
  read(key: DefinitionKey): Definition {
    try {
      return this.#parse(this.#path(key))
    } catch (error) {
      throw isMissing(error) ? notDefined(key) : error
    }
  }

  /**
   * Defines an mdev.
   *
   * @param options `replace` writes over a definition that is there
   * @throws EEXIST it is defined there already · EINVAL a parent's name that is no file name, or no uuid · ENOSPC, EACCES, EROFS:
   *         what was there before still is
   */
  write(key: DefinitionKey, definition: Definition, { replace = false } = {}): void {
    const path = this.#path(key)
    makeDirectory(join(this.#directory, key.parent), 0o755)
    try {
      writeFileAtomic(path, formatDefinition(definition), { mode: 0o644, exclusive: !replace })
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
        throw new ErrnoError('EEXIST', `mdev ${key.uuid}: defined on parent ${key.parent} already`)
      }
      throw error
    }
  }

  /** Undefines an mdev; the parent's directory stays, as mdevctl leaves it. @throws ENOENT it is not defined there */
  remove(key: DefinitionKey): void {
    const path = this.#path(key)
    try {
      unlinkSync(path)
    } catch (error) {
      throw isMissing(error) ? notDefined(key) : error
    }
    syncDirectory(join(this.#directory, key.parent))
  }

  /** Whether something can be defined by this name. @throws EINVAL a parent's name that is no file name, or no uuid */
  check(key: DefinitionKey): void {
    this.#path(key)
  }

  #path({ parent, uuid }: DefinitionKey): string {
    if (!PARENT_NAME.test(parent))
      throw new ErrnoError('EINVAL', `parent ${JSON.stringify(parent)}: not a file name`)
    return join(this.#directory, parent, parseUuid(uuid))
  }

  /** Names of those that something is, or was, defined on. */
  #parents(): readonly string[] {
    return entriesOf(this.#directory)
      .filter((entry) => entry.isDirectory() && entry.name !== SCRIPTS)
      .map(({ name }) => name)
      .toSorted()
  }

  #parse(path: string): Definition {
    return this.#read.definitionAt(path)
  }
}

/** Missing is empty. */
function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

/** mdevctl takes any spelling as a file's name; it and we write the lower-case one with hyphens. */
function uuidOfFile(name: string): string {
  const uuid = parseUuid(name)
  if (uuid !== name) throw new ErrnoError('EINVAL', `${name}: should be named ${uuid}`)
  return uuid
}

/** The order in which mdevs are listed. */
export function byParentAndUuid(a: DefinitionKey, b: DefinitionKey): number {
  return compare(a.parent, b.parent) || compare(a.uuid, b.uuid)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

function notDefined({ parent, uuid }: DefinitionKey): ErrnoError {
  return new ErrnoError('ENOENT', `mdev ${uuid}: not defined on parent ${parent}`)
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
