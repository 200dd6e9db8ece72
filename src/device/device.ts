/** A device as the bus driver that exposes it sees it: regions, irq indexes, reset. It knows no transport. */
import type { IrqIndex } from './irq.ts'
import type { Migration } from './migration.ts'
import type { ResetCause } from './pci.ts'
import type { DeviceRegion } from './region.ts'

export interface Device {
  /** VFIO_DEVICE_FLAGS_*. */
  readonly flags: number
  /** By region index. */
  readonly regions: readonly DeviceRegion[]
  /** By irq index. */
  readonly irqs: readonly IrqIndex[]
  /** Undefined for a device that cannot migrate. */
  readonly migration: Migration | undefined
  /** Asks the client to let go of the device, if it listens: the REQ interrupt. */
  requestRelease(): void
  /** Back to the power-on state; what the client has assigned stays. */
  reset(why: ResetCause): void
  /** Nothing, or a promise of the end, well or not, of what a reset has left under way in guest memory. */
  quiesce(): void | Promise<void>
}
