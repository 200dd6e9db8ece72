/** How much memory a process may lock, and has locked: of one process for good, whatever its pid comes to name later. */
import { openSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import { ErrnoError } from '../lib/errno.ts'
import { Unwind } from '../lib/unwind.ts'
import { closeFd, O_RDONLY } from './fd.ts'

/** <linux/capability.h>: may lock without a limit. */
const CAP_IPC_LOCK = 14

/** A process, as far as locking memory goes. It stays the one that had the pid at first. */
export class ProcessMemlock {
  /** Tells the process from every other one, also from those that get its pid later. */
  readonly identity: string
  readonly #pid: number
  readonly #started: string
  /** Opened when they are asked for first: most clients never pin a page. These lead to no other process, ever. */
  #limits: number | undefined
  #status: number | undefined

  /** @throws ENOENT, ESRCH, EACCES: there is no such process, or /proc hides it */
  constructor(pid: number) {
    this.#pid = pid
    this.#started = startTime(pid)
    this.identity = `${pid}:${this.#started}`
  }

  /** The soft RLIMIT_MEMLOCK at this moment, bytes; Infinity without one. @throws ESRCH the process has gone */
  limit(): number {
    return softMemlock(readAll((this.#limits ??= this.#open('limits'))))
  }

  /** What it has locked itself, by mlock(2) and the like, bytes. @throws ESRCH the process has gone */
  locked(): number {
    const [, kiB] = /^VmLck:\s+(\d+) kB$/m.exec(readAll(this.#openStatus())) ?? []
    return Number(kiB ?? 0) * 1024 // a zombie has no such line
  }

  /**
   * Whether CAP_IPC_LOCK is effective, so that the limit does not bind it.
   *
   * Anybody may make a user namespace and have all capabilities there, so it counts in our own alone. What we may not look
   * at, and a process that has gone, does not have it.
   */
  hasIpcLock(): boolean {
    try {
      // Not by the fd that is kept: this is asked of every client, and most never pin a page.
      if (!isEffective(CAP_IPC_LOCK, readFileSync(`/proc/${this.#pid}/status`, 'latin1')))
        return false
      // After the capabilities: from a namespace of its own a process does not come back to ours.
      const namespace = readlinkSync(`/proc/${this.#pid}/ns/user`)
      if (startTime(this.#pid) !== this.#started) return false // the pid has named somebody else meanwhile
      return namespace === readlinkSync('/proc/self/ns/user')
    } catch {
      return false
    }
  }

  close(): void {
    for (const fd of [this.#limits, this.#status]) if (fd !== undefined) closeFd(fd)
    this.#limits = this.#status = undefined
  }

  #openStatus(): number {
    return (this.#status ??= this.#open('status'))
  }

  /** @throws ESRCH the process has gone, whatever has its pid now */
  #open(name: string): number {
    try {
      using undo = new Unwind()
      const fd = openSync(`/proc/${this.#pid}/${name}`, O_RDONLY)
      undo.defer(() => closeFd(fd))
      if (startTime(this.#pid) === this.#started) {
        undo.keep()
        return fd
      }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
    throw new ErrnoError('ESRCH', `pid ${this.#pid}: the process has gone`)
  }
}

/** @param status the text of /proc/PID/status */
function isEffective(capability: number, status: string): boolean {
  const [, mask] = /^CapEff:\s+([\da-f]+)$/m.exec(status) ?? []
  return ((BigInt(`0x${mask ?? '0'}`) >> BigInt(capability)) & 1n) === 1n
}

/** The soft limit in the text of /proc/PID/limits, bytes. */
export function softMemlock(limits: string): number {
  const [, soft] = /^Max locked memory +(\d+|unlimited) /m.exec(limits) ?? []
  if (soft === undefined) return 0 // no kernel leaves it out; this is the safe side
  return soft === 'unlimited' ? Infinity : Number(soft)
}

/** {@link ProcessMemlock.limit} of this process. */
export function ownMemlockLimit(): number {
  const self = new ProcessMemlock(process.pid)
  try {
    return self.limit()
  } finally {
    self.close()
  }
}

/** In clock ticks since boot. @throws ENOENT, ESRCH */
function startTime(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // a name may have both spaces and brackets
  return fields[22 - 3] ?? '' // proc(5) counts from 1, and the name is field 2
}

const chunk = Buffer.alloc(4096)

/** A file of /proc from its start: the kernel writes it anew for every read from there. */
function readAll(fd: number): string {
  let text = ''
  for (;;) {
    const count = readSync(fd, chunk, 0, chunk.length, text.length)
    text += chunk.toString('latin1', 0, count)
    if (count < chunk.length) return text
  }
}
