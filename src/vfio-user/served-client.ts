/** What a command handler sees of the connection it serves. */
import type { Device } from '../device/device.ts'
import type { Clock } from '../lib/clock.ts'
import type { Container } from '../iommu/container.ts'
import type { Capabilities } from './version.ts'
import type { ClientIrqs } from './client-irqs.ts'
import type { ClientIoFds } from './io-fds.ts'

/** Counters of one mdev, over all its clients; plain numbers, cheap enough to be always on. */
export interface ServerStats {
  clients: number
  regionReads: number
  regionWrites: number
  dmaMaps: number
  dmaUnmaps: number
  resets: number
  /** Requests that were answered with an errno. */
  refused: number
}

export interface ServedClient {
  readonly device: Device
  readonly container: Container
  readonly irqs: ClientIrqs
  readonly ioFds: ClientIoFds
  readonly stats: ServerStats
  /** What waiting for a device goes by. */
  readonly clock: Pick<Clock, 'after'>
  /** What the client said in VERSION; undefined before it has. */
  capabilities: Capabilities | undefined
  /** The buffer that the reply is built in. */
  readonly reply: DataView
  readonly replyBytes: Uint8Array
  /** Where the reply's payload starts in it. */
  readonly replyAt: number
  /** Says once, in the log, that guest memory came without a file, and what to do about it. */
  adviseSharedMemory(): void
  /**
   * Opens a second socket, which our own requests take from now on; its other end goes with the reply, as the only fd.
   *
   * @throws EMFILE, ENFILE, ENOSPC
   */
  openTwin(): void
  /** Fds that go with the reply, which is yet to be built: `replyAt` may move. They stay open until the client has gone. */
  attachFds(fds: readonly number[]): void
  /** Makes room for `size` bytes of payload; `replyAt` may move. */
  reserveReply(size: number): void
  /**
   * All of the reply's payload, zeroed, to be filled in: `size` bytes, which may be more than the outbox holds. What the
   * caller bounds is allocated.
   */
  replyRoom(size: number): Uint8Array
}
