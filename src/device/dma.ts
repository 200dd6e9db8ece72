/** Guest memory as a driver sees it. */

/**
 * The client's memory, by IOVA. Every call checks what the client mapped and with which rights.
 *
 * @throws EFAULT not mapped · EACCES mapped without that right, or the guest has bus mastering off
 */
export interface Dma {
  /** Copies guest memory at `iova` into `target`. */
  read(iova: number, target: Uint8Array): void
  /** Copies `source` into guest memory at `iova`. */
  write(iova: number, source: Uint8Array): void
  /**
   * Guest memory itself, without a copy; inside one mapping. Reads zeros after the client has unmapped it.
   *
   * @param length bytes
   * @throws EOPNOTSUPP the memory can only be reached by copying (see `read` and `write`)
   */
  view(iova: number, length: number): Uint8Array
}
