/** What a command handler sees of the connection it serves. */
import type { Device } from '../device/device.ts'
import type { Container } from '../iommu/container.ts'
import type { Capabilities } from './version.ts'
import type { ClientIrqs } from './client-irqs.ts'

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
  readonly stats: ServerStats
  /** What the client said in VERSION; undefined before it has. */
  capabilities: Capabilities | undefined
  /** The buffer that the reply is built in. */
  readonly reply: DataView
  readonly replyBytes: Uint8Array
  /** Where the reply's payload starts in it. */
  readonly replyAt: number
  /** Says once, in the log, that guest memory came without a file, and what to do about it. */
  adviseSharedMemory(): void
  /** Makes room for `size` bytes of payload; `replyAt` may move. */
  reserveReply(size: number): void
}
