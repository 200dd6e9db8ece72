/** Notices what becomes of definitions, whoever writes them: this process, mdevctl, or an editor. */
import { EventEmitter } from 'node:events'
import { existsSync, type FSWatcher, readdirSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { makeDirectory } from '../host/paths.ts'
import { describeError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { DefinedMdev, DefinitionKey } from '../mdev/control-plane.ts'
import type { DefinitionStore } from './definition-store.ts'

/** Files change in several steps, and often several at a time. */
const SETTLE_MS = 50
/** When to look again where it could not be done. */
const RETRY_MS = 30_000

export interface DefinitionWatcherOptions {
  readonly store: DefinitionStore
  /** The store's. Made if need be, as only what is there can be watched. */
  readonly directory: string
  readonly log: Logger
}

/** - `defined`: a definition is new, or another than before. - `undefined`: it is no more, or cannot be read any more. */
interface DefinitionEvents {
  defined: [mdev: DefinedMdev]
  undefined: [key: DefinitionKey]
}

export class DefinitionWatcher extends EventEmitter<DefinitionEvents> {
  readonly #options: DefinitionWatcherOptions
  /** Of the directory itself under '', of each parent's under its name. */
  readonly #watchers = new Map<string, FSWatcher>()
  /** Which directory is watched: names may change hands. */
  #watched = ''
  #known = new Map<string, DefinedMdev>()
  #faults: readonly string[] = []
  #timer: NodeJS.Timeout | undefined

  /**
   * What is there now is known, and not told of.
   *
   * @throws EACCES, ENOTDIR, ENOSPC (of inotify)… it cannot be watched
   */
  constructor(options: DefinitionWatcherOptions) {
    super()
    this.#options = options
    try {
      this.#watchDirectory()
      this.#watchParents()
      this.#look()
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** This process has defined an mdev: it is told of now, and not when the file system tells. */
  noteDefined(mdev: DefinedMdev): void {
    const id = idOf(mdev)
    const before = this.#known.get(id)
    this.#known.set(id, mdev)
    if (!isDeepStrictEqual(before?.definition, mdev.definition)) this.emit('defined', mdev)
  }

  /** The same of a definition that is no more. */
  noteUndefined(key: DefinitionKey): void {
    if (this.#known.delete(idOf(key))) this.emit('undefined', key)
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  #look(): void {
    const { store, log } = this.#options
    const { mdevs, faults } = store.list()
    const now = new Set(mdevs.map(idOf))
    for (const [id, { parent, uuid }] of this.#known) {
      if (!now.has(id)) this.noteUndefined({ parent, uuid })
    }
    for (const mdev of mdevs) this.noteDefined(mdev)
    const told = this.#faults
    this.#faults = faults.map(({ path, message }) => `${path}: ${message}`)
    for (const fault of this.#faults) if (!told.includes(fault)) log.warn(`definition ${fault}`)
  }

  /** Each parent has a directory, and they come and go. */
  #watchParents(): void {
    const entries = readdirSync(this.#options.directory, { withFileTypes: true })
    const parents = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
    for (const parent of this.#watchers.keys()) {
      if (parent !== '' && !parents.includes(parent)) this.#unwatch(parent)
    }
    for (const parent of parents) if (!this.#watchers.has(parent)) this.#watch(parent)
  }

  #watch(parent: string): void {
    const { directory, log } = this.#options
    const watcher = watch(join(directory, parent), (_event, name) => {
      // What is watched is a directory, not a name: another one may have taken its place.
      if (parent === '' && name !== null && name !== '') this.#unwatch(name)
      this.#lookSoon()
    })
    watcher.on('error', (error) => log.warn(`watching definitions: ${describeError(error)}`))
    this.#watchers.set(parent, watcher)
  }

  #unwatch(parent: string): void {
    this.#watchers.get(parent)?.close()
    this.#watchers.delete(parent)
  }

  /** The directory may have been removed, or another one may have taken its place. */
  #watchDirectory(): void {
    const { directory } = this.#options
    if (!existsSync(directory)) this.#watched = ''
    makeDirectory(directory, 0o755)
    const { dev, ino, birthtimeNs } = statSync(directory, { bigint: true })
    const identity = `${dev} ${ino} ${birthtimeNs}` // numbers of inodes are given out again at once
    if (identity === this.#watched) return
    for (const parent of this.#watchers.keys()) this.#unwatch(parent)
    this.#watch('')
    this.#watched = identity
  }

  #lookSoon(waitMs = SETTLE_MS): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      try {
        this.#watchDirectory()
        this.#watchParents()
        this.#look()
      } catch (error) {
        this.#options.log.warn(`definitions: ${describeError(error)}`)
        this.#lookSoon(RETRY_MS) // nobody may tell us when it is better
      }
    }, waitMs).unref()
  }
}

function idOf({ parent, uuid }: DefinitionKey): string {
  return `${parent}/${uuid}`
}
