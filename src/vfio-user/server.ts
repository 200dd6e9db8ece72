/** Serves one mdev at a UNIX socket: one client at a time, as many as may come. */
import { randomUUID } from 'node:crypto'
import type { GroupUser } from '../mdev/group.ts'
import type { ClientAccounts } from '../iommu/client-accounts.ts'
import type { LockAccount } from '../iommu/lock-account.ts'
import type { MdevDevice } from '../mdev/mdev.ts'
import type { MdevSession } from '../mdev/mdev-session.ts'
import type { Exposure } from '../mdev/bus-driver.ts'
import type { Clock } from '../lib/clock.ts'
import { describeError, errnoOf } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { closeFd } from '../os/fd.ts'
import { EventFd } from '../os/eventfd.ts'
import { Inbox, Outbox } from '../os/message.ts'
import { processIdentity, processName } from '../os/process.ts'
import type { Reactor } from '../os/reactor.ts'
import { UnixListener } from '../os/unix-listener.ts'
import { peerCredentials, type PeerCredentials } from '../os/unix-socket.ts'
import type { AccessTimes } from './access-times.ts'
import { Connection, OUTBOX_CAPACITY, type SharedBuffers } from './connection.ts'
import { RefusedClients } from './refused-client.ts'
import type { ServerStats } from './served-client.ts'

/** Bytes received at most in one go, with what was kept of the go before. */
const INBOX_CAPACITY = 64 * 1024

export interface ServerOptions {
  readonly mdev: MdevDevice
  /** Where to listen; the file is made here and unlinked at the end. */
  readonly path: string
  readonly reactor: Reactor
  readonly buffers: SharedBuffers
  readonly log: Logger
  /** Measures accesses when given; it costs two looks at the clock each. */
  readonly accessTimes?: AccessTimes
  /** The machine's unless given. */
  readonly clock?: Pick<Clock, 'after'>
  /** Who pays for pages that the driver pins: the client's process, and the parent. */
  readonly lockAccounts: { readonly clients: ClientAccounts; readonly parent: LockAccount }
  /** Whether guest memory that its owner can shrink is mapped too: a client that does shrink it ends this process. */
  readonly mapUnsealed?: boolean
}

/** What the connections of a process share. */
export function createBuffers(): SharedBuffers {
  EventFd.prepare() // not at the first interrupt, when fds may have run out
  return { inbox: new Inbox(INBOX_CAPACITY), outbox: new Outbox(OUTBOX_CAPACITY) }
}

export class Server implements Exposure {
  readonly stats: ServerStats = {
    clients: 0,
    regionReads: 0,
    regionWrites: 0,
    dmaMaps: 0,
    dmaUnmaps: 0,
    resets: 0,
    refused: 0,
  }
  readonly #options: ServerOptions
  readonly #listener: UnixListener
  readonly #refused: RefusedClients
  #connection: Connection | undefined

  /** @throws EADDRINUSE, EACCES, ENAMETOOLONG, ENOENT: it cannot listen there */
  constructor(options: ServerOptions) {
    this.#options = options
    this.#refused = new RefusedClients(options.reactor, options.buffers)
    this.#listener = new UnixListener(
      options.path,
      options.reactor,
      (fd) => this.#attach(fd),
      (error) => options.log.warn(describeError(error)),
    )
  }

  close(): void {
    this.#listener.close()
    this.#refused.close()
    this.#connection?.close()
  }

  #attach(fd: number): void {
    const { mdev, log, lockAccounts, mapUnsealed = false } = this.#options
    const peer = peerOf(fd)
    const description = `pid ${peer.pid} (${processName(peer.pid)})`
    const locks = lockAccounts.clients.attach(peer.pid, description)
    const payers = {
      client: locks.account,
      parent: lockAccounts.parent,
      lockExempt: locks.isExempt(),
    }
    let session: MdevSession | undefined
    let ended = false
    const connection = new Connection({
      ...this.#options,
      dma: { mapUnsealed, payers },
      fd,
      stats: this.stats,
      onClose: () => {
        ended = true
        if (this.#connection === connection) this.#connection = undefined
        session?.close()
        connection.container.close() // nothing is charged to the client any more
        locks.detach()
      },
      onClosed: () => log.info(`client ${description}: gone`),
    })
    const user: GroupUser = {
      description,
      get process() {
        return processIdentity(peer.pid) ?? `? ${randomUUID()}` // who cannot be looked at is like nobody else
      },
      evict: () => connection.close(),
    }
    const begin = (opened: MdevSession) => {
      connection.container.observe({
        mapped: ({ iova, size, readable, writable }) =>
          opened.dmaMap({ iova, size, readable, writable }),
        unmapping: ({ iova, size, readable, writable }) =>
          opened.dmaUnmap({ iova, size, readable, writable }),
      })
      connection.start(opened.device)
      this.#connection = connection
      this.stats.clients++
      log.info(`client ${description}: attached`)
    }
    const refuse = (error: unknown) => {
      if (ended) return // it has been taken off, and its fd is closed
      // A second client would hang in the backlog until its own time-out.
      log.warn(`client ${description}: refused: ${describeError(error)}`)
      this.#refused.refuse(connection.giveUp(), errnoOf(error))
    }
    this.#connection?.poll() // the client before may have gone just now
    try {
      const opened = mdev.open(user, connection.container.memory)
      session = opened
      if (opened.ready === undefined) {
        begin(opened)
      } else {
        this.#connection = connection // nothing is received from it until then
        opened.ready.then(() => begin(opened)).catch(refuse)
      }
    } catch (error) {
      refuse(error)
    }
  }
}

/** @throws what getsockopt says, after closing the fd */
function peerOf(fd: number): PeerCredentials {
  try {
    return peerCredentials(fd)
  } catch (error) {
    closeFd(fd)
    throw error
  }
}
