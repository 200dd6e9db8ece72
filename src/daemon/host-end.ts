/** Ends hosts: as they unregister their parents and, by force, also one that does not answer any more. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlClient } from '../host/control-client.ts'
import { hostLock } from '../host/paths.ts'
import { codeOf, ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { isHeldBy, isLocked, lockHolder } from '../os/file-lock.ts'
import { isRunning, processIdentity } from '../os/process.ts'
import type { Hosts } from './hosts.ts'

/** Between two questions whether a host that is to end by force still answers. */
const ASK_MS = 1000
/** How long a process may take to end, once its parent is unregistered, or it is killed. */
const EXIT_MS = 20_000
const LOOK_MS = 10

export interface HostEndsOptions {
  /** The run-time root. */
  readonly root: string
  readonly hosts: Hosts
  readonly log: Logger
}

export interface HostEndOptions {
  /** Takes mdevs from their clients, and kills a host that does not answer. */
  readonly force: boolean
  /** Waits for clients to let go, for however long. */
  readonly wait: boolean
}

export class HostEnds {
  readonly #options: HostEndsOptions
  readonly #closed = new AbortController()

  constructor(options: HostEndsOptions) {
    this.#options = options
  }

  /** Waits for nobody any more; what was asked of hosts they do all the same. */
  close(): void {
    this.#closed.abort(new ErrnoError('ECANCELED', 'the daemon ends'))
  }

  /**
   * Unregisters the parent of a host; resolves when its process has ended.
   *
   * @throws as ControlClient.unregister · ETIMEDOUT its process does not end
   */
  async end(host: ControlClient, { force, wait }: HostEndOptions): Promise<void> {
    const runner = this.#runner(host.name, host.pid)
    if (force) await this.#force(host, runner)
    else await host.unregister({ wait })
    try {
      await this.#gone(runner)
    } catch (error) {
      if (!force || codeOf(error) !== 'ETIMEDOUT') throw error
      await this.#kill(runner, error)
    }
  }

  /**
   * Kills the process that has a parent's name, and no other.
   *
   * @param pid as its file says
   * @throws EPERM that is another process · ETIMEDOUT it does not end, as one that waits for a device
   */
  async kill(parent: string, pid: number): Promise<void> {
    await this.#kill(this.#runner(parent, pid))
  }

  /** A host may say what it likes of its pid: what the kernel says of the lock counts. */
  #runner(name: string, pid: number): Runner {
    const lock = hostLock(this.#options.root, name)
    const isOther = pid !== process.pid && isHeldBy(lock, pid)
    return { name, pid, lock, identity: isOther ? processIdentity(pid) : undefined }
  }

  async #force(host: ControlClient, runner: Runner): Promise<void> {
    const ended = new AbortController()
    const silent = silence(host, AbortSignal.any([ended.signal, this.#closed.signal]))
    try {
      await Promise.race([host.unregister({ force: true }), silent])
    } catch (error) {
      if (codeOf(error) === 'ECONNRESET') return // it has gone
      if (codeOf(error) !== 'ETIMEDOUT') throw error
      await this.#kill(runner, error)
    } finally {
      ended.abort()
    }
  }

  async #kill(runner: Runner, why?: unknown): Promise<void> {
    const { name, pid, lock, identity } = runner
    if (identity === undefined) {
      if (!isLocked(lock)) return
      throw new ErrnoError('EPERM', `parent ${name}: pid ${pid} is not its host, and not killed`)
    }
    if (!isRunning(identity)) return
    const because = why instanceof Error ? `: ${why.message}` : ''
    this.#options.log.warn(`parent ${name}: its host, pid ${pid}, is killed${because}`)
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      if (codeOf(error) !== 'ESRCH') throw error // it has just ended
    }
    await this.#gone(runner)
  }

  /** Resolves when a host is not connected, has not the name, and has ended. */
  async #gone({ name, pid, lock, identity }: Runner): Promise<void> {
    const { hosts } = this.#options
    const end = performance.now() + EXIT_MS
    const isThere = () =>
      hosts.find(name)?.pid === pid ||
      (isLocked(lock) && lockHolder(lock) === pid) ||
      (identity !== undefined && isRunning(identity))
    while (isThere()) {
      this.#closed.signal.throwIfAborted()
      if (performance.now() > end)
        throw new ErrnoError(
          'ETIMEDOUT',
          `parent ${name}: its host, pid ${pid}, has not ended in ${EXIT_MS / 1000} s`,
        )
      await sleep(LOOK_MS)
    }
  }
}

/** The process that runs a parent. */
interface Runner {
  readonly name: string
  readonly pid: number
  /** What it holds as long as it has the name. */
  readonly lock: string
  /** As processIdentity has it; undefined where the kernel does not say that it is the one, or it is ourselves. */
  readonly identity: string | undefined
}

/** Asks a host again and again. @throws ETIMEDOUT when it does not answer · ECONNRESET when it has gone */
async function silence(host: ControlClient, end: AbortSignal): Promise<void> {
  const never = new Promise<void>(() => {})
  while (!end.aborted) {
    await host.showParent()
    await sleep(ASK_MS, undefined, { signal: end }).catch(() => {})
  }
  return never
}
