/** The accounts of client processes: the mdevs of one VM share its process's. */
import { constants } from 'node:os'
import { ErrnoError, errnoOf } from '../lib/errno.ts'
import { ownMemlockLimit, ProcessMemlock } from '../os/memlock-limit.ts'
import { LockAccount, type LockLimit } from './lock-account.ts'

/** One client's share in the account of its process. */
export interface ClientAccount {
  readonly account: LockAccount
  /** Whether the process may lock without a limit at this moment, and so whatever it maps now. */
  isExempt(): boolean
  /** Gives the share back; nothing of this client's is charged any more. Idempotent. */
  detach(): void
}

interface Entry {
  readonly account: LockAccount
  readonly memlock: ProcessMemlock
  clients: number
}

export class ClientAccounts {
  readonly #entries = new Map<string, Entry>()

  /** Processes that have an account here. */
  get count(): number {
    return this.#entries.size
  }

  /**
   * The account of a process, made for the first of its clients and dropped with the last.
   *
   * A process that we cannot look at (one outside of our pid namespace has pid 0 here; /proc may hide it) is no exception:
   * each of its clients gets an account of its own, with the limit of this process.
   *
   * @param pid  by the credentials of its socket
   * @param name for messages: `pid 4711 (qemu-system-x86)`
   */
  attach(pid: number, name: string): ClientAccount {
    const memlock = lookAt(pid)
    if (memlock === undefined) {
      const account = new LockAccount(name, OWN_LIMIT)
      return { account, isExempt: () => false, detach() {} }
    }
    const { identity } = memlock
    let entry = this.#entries.get(identity)
    if (entry === undefined) {
      entry = { account: new LockAccount(name, limitOf(pid, name, memlock)), memlock, clients: 0 }
      this.#entries.set(identity, entry)
    } else memlock.close()
    entry.clients++
    return this.#share(identity, entry)
  }

  #share(identity: string, entry: Entry): ClientAccount {
    let attached = true
    return {
      account: entry.account,
      isExempt: () => entry.memlock.hasIpcLock(),
      detach: () => {
        if (!attached) return
        attached = false
        if (--entry.clients > 0) return
        this.#entries.delete(identity)
        entry.memlock.close()
      },
    }
  }
}

function lookAt(pid: number): ProcessMemlock | undefined {
  try {
    return new ProcessMemlock(pid)
  } catch {
    return undefined
  }
}

const OWN_LIMIT: LockLimit = {
  name: 'RLIMIT_MEMLOCK of the host',
  bytes: ownMemlockLimit,
  lockedElsewhere: () => 0,
}

function limitOf(pid: number, name: string, memlock: ProcessMemlock): LockLimit {
  return {
    name: 'RLIMIT_MEMLOCK',
    bytes: () => unlessGone(name, () => memlock.limit()),
    // A client in this very process: what we have locked for it is in there.
    lockedElsewhere: () => (pid === process.pid ? 0 : unlessGone(name, () => memlock.locked())),
  }
}

/** @throws ENODEV, as the kernel says it when the process that mapped the memory has gone */
function unlessGone(name: string, read: () => number): number {
  try {
    return read()
  } catch (error) {
    if (errnoOf(error) !== constants.errno.ESRCH) throw error
    throw new ErrnoError('ENODEV', `${name}: the process has gone`, { cause: error })
  }
}
