/** What hosts say, passed on to the daemon's log with their parents' names, and kept from growing without end. */
import {
  closeSync,
  copyFileSync,
  fstatSync,
  type FSWatcher,
  openSync,
  readdirSync,
  readSync,
  statSync,
  truncateSync,
  watch,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { hostLog } from '../host/paths.ts'
import { describeError } from '../lib/errno.ts'
import type { Logger, LogLevel } from '../lib/log.ts'

const SUFFIX = '.log'
/** Most bytes of a host's log; there is one more of that size beside it, with what was before. */
const MAX_FILE = 1024 * 1024
/** Most bytes passed on at a time; of a host that says more at once the rest is only in its own log. */
const MAX_PASSED = 64 * 1024
/** `warn: text`; what is of no level is info. */
const LINE = /^(?:(debug|warn|error): )?(.*)$/

export interface HostLogsOptions {
  /** The run-time root. */
  readonly root: string
  readonly log: Logger
  readonly maxFile?: number
}

export class HostLogs {
  readonly #options: HostLogsOptions
  readonly #directory: string
  readonly #watcher: FSWatcher
  /** How far each log has been passed on, by its file's name. */
  readonly #passed = new Map<string, number>()

  /** What was said before is not passed on. The directory must be there. */
  constructor(options: HostLogsOptions) {
    this.#options = options
    this.#directory = dirname(hostLog(options.root, ''))
    for (const name of readdirSync(this.#directory)) {
      if (name.endsWith(SUFFIX)) this.#passed.set(name, sizeOf(join(this.#directory, name)))
    }
    this.#watcher = watch(this.#directory, (_event, name) => {
      if (name?.endsWith(SUFFIX) === true) this.#look(name)
    })
    this.#watcher.on('error', (error) => options.log.error('watching the logs of hosts', error))
  }

  close(): void {
    this.#watcher.close()
  }

  #look(name: string): void {
    const { log, maxFile = MAX_FILE } = this.#options
    const path = join(this.#directory, name)
    try {
      this.#pass(path, name)
      if (sizeOf(path) <= maxFile) return
      copyFileSync(path, `${path}.1`)
      truncateSync(path) // its host appends, so it goes on at the start
      this.#passed.set(name, 0)
    } catch (error) {
      log.warn(`${path}: ${describeError(error)}`)
    }
  }

  #pass(path: string, name: string): void {
    const log = this.#options.log.child(`parent ${name.slice(0, -SUFFIX.length)}`)
    const before = this.#passed.get(name) ?? 0
    const fd = openSync(path, 'r')
    try {
      const { size } = fstatSync(fd)
      const start = size < before ? 0 : before // it was begun anew
      const bytes = Buffer.alloc(Math.min(size - start, MAX_PASSED))
      const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, start))
      const end = text.lastIndexOf('\n') + 1
      const skipped = size - start - bytes.length
      this.#passed.set(name, skipped > 0 ? size : start + Buffer.byteLength(text.slice(0, end)))
      for (const line of text.slice(0, end).split('\n')) if (line !== '') say(log, line)
      if (skipped > 0) log.warn(`${skipped} bytes more in ${path}`)
    } finally {
      closeSync(fd)
    }
  }
}

function say(log: Logger, line: string): void {
  const [, level = 'info', message = ''] = LINE.exec(line) ?? []
  log[level as LogLevel](message)
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
