/** What a driver gives for a region: registers that are read and written, one naturally aligned access at a time; memory. */
import type { SharedMemory } from './shared-memory.ts'

/** Bytes of one access. */
export type Width = 1 | 2 | 4

/**
 * A window of device registers. Accesses arrive inside the region, naturally aligned, at most `maxWidth` of the region
 * wide; values are unsigned. A guest never crashes a device: unknown registers read as the data sheet says.
 */
export interface Registers {
  /** @returns the value, of which the low `width` bytes count */
  read(offset: number, width: Width): number
  write(offset: number, value: number, width: Width): void
}

/** A part of a region that is memory. */
export interface MemoryArea {
  /** In the region, bytes. Only whole pages (4096 bytes) can be mapped; what sticks out of them is accessed by message. */
  readonly offset: number
  readonly size: number
  /**
   * The memory of this area alone, from its start on. Clients that take one file for a region, such as QEMU, access it by
   * message. Unless given, the region's own memory, at the same offset as in the region.
   */
  readonly memory?: SharedMemory
}

/** What of a region is memory, so that the client may map it and access it without telling the driver. */
export interface RegionMemoryInfo {
  /**
   * Backs the region, or the `areas` of it; as large as the region unless there are areas. A client may map it, or access it by
   * message; the registers see neither. Pages that hold a doorbell or the MSI-X table are not mapped.
   *
   * With one such region QEMU 11 posts no writes any more, to all of the device: one by message then takes 50 us rather
   * than 0.3. So this is for what is accessed much and needs no reaction.
   */
  readonly memory?: SharedMemory
  readonly areas?: readonly MemoryArea[]
}

/** How a BAR looks to the guest. */
export interface BarInfo extends RegionMemoryInfo {
  /** I/O space, memory below 4 GiB, or memory anywhere (which takes this BAR and the next). */
  readonly kind: 'io' | 'mem32' | 'mem64'
  /** Bytes; a power of two, at least 4 for I/O and 16 for memory. */
  readonly size: number
  /** Wider accesses are split; 4 unless given. */
  readonly maxWidth?: Width
  /** Memory whose reads have no side effects. */
  readonly prefetchable?: boolean
}

/** A region of the device's own, besides the BARs. */
export interface OwnRegionInfo extends RegionMemoryInfo {
  /** What it is, for clients that look for it: a PCI vendor id with bit 31 set, and a number of that vendor's choice. */
  readonly type: number
  readonly subtype: number
  /** Bytes. */
  readonly size: number
  /** Wider accesses are split; 4 unless given. */
  readonly maxWidth?: Width
}
