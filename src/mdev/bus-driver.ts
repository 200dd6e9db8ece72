/** How mdevs become known to clients: what serves them is handed to the model, which knows no sockets. */
import type { MdevDevice } from './mdev.ts'

/** Exposes an mdev to clients. */
export interface BusDriver {
  /** @returns what takes it back @throws refuses the creation */
  expose(mdev: MdevDevice): Exposure
}

export interface Exposure {
  /** Ends it: no client can come any more, and a client that is there is gone. */
  close(): void
}
