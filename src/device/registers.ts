/** What a driver gives for a region: registers that are read and written, one naturally aligned access at a time. */

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

/** How a BAR looks to the guest. */
export interface BarInfo {
  /** I/O space, memory below 4 GiB, or memory anywhere (which takes this BAR and the next). */
  readonly kind: 'io' | 'mem32' | 'mem64'
  /** Bytes; a power of two, at least 4 for I/O and 16 for memory. */
  readonly size: number
  /** Wider accesses are split; 4 unless given. */
  readonly maxWidth?: Width
  /** Memory whose reads have no side effects. */
  readonly prefetchable?: boolean
}
