/// <reference lib="es2022.error" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** mdevkit: the public SDK. A driver's author imports this and nothing else. */
export {
  choice,
  flag,
  integer,
  text,
  type Attribute,
  type Attributes,
  type ValuesOf,
} from './mdev/attribute.ts'
export {
  defineDriver,
  type DeviceOps,
  type Driver,
  type Mdev,
  type MdevGroup,
  type ParentHandle,
  type TypeInfo,
} from './mdev/driver.ts'
export type { GroupMember } from './mdev/group.ts'
export { homogeneous, perType, sharedBudget, type AvailableInstances } from './mdev/instances.ts'
export type { PciFunction, PciIdentity, ResetCause } from './device/pci.ts'
export type { IntxLine, IrqLine, IrqVector } from './device/irq-line.ts'
export type {
  BarInfo,
  MemoryArea,
  OwnRegionInfo,
  RegionMemoryInfo,
  Registers,
  Width,
} from './device/registers.ts'
export { systemClock, type Clock } from './device/clock.ts'
export type { DeviceState } from './device/device-state.ts'
export type { Dma } from './device/dma.ts'
export type { DmaRange } from './iommu/map-entry.ts'
export type { Pin, PinAccess } from './iommu/pin.ts'
export type { Segment } from './iommu/segments.ts'
export type { DoorbellInfo } from './device/doorbell.ts'
export type { SharedMemory } from './device/shared-memory.ts'
export { ByteFifo } from './lib/byte-fifo.ts'
export { ErrnoError, type ErrnoCode } from './lib/errno.ts'
export type { Logger } from './lib/log.ts'
export {
  alignedBlock,
  AsyncFile,
  type AsyncFileOptions,
  blockOf,
  type FileDone,
} from './os/async-file.ts'
export type { CutWatch } from './os/cut-watch.ts'
export { readSmallFile, writeFileAtomic } from './os/atomic-file.ts'
export type { Block } from './os/file-request.ts'
export type { FileUser } from './os/file-turns.ts'
export type { Peer, PeerEvents } from './os/peer.ts'
export { listenForPeer } from './os/peer-socket.ts'
export { openPty } from './os/pty.ts'
