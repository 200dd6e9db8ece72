/** Guest memory as a driver sees it. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { DmaRange } from '../iommu/map-entry.ts'
import type { Pin, PinAccess } from '../iommu/pin.ts'
import type { Segment } from '../iommu/segments.ts'
import { releaseView } from '../iommu/view.ts'
import type { AsyncFile, FileDone } from '../os/async-file.ts'

export type { DmaRange }

/**
 * The client's memory, by IOVA. Every call checks what the client mapped and with which rights.
 *
 * Where memory is mapped in this process, which is how a VM should be started, calls have ended when they return. Else they
 * return a promise: the VM has to be asked, which it can answer only after the access that led to this has been replied to. So
 * await what is returned; a driver that does so works with every client.
 *
 * The guest uses its memory at the same time. Read a value once, check that, use that. A copy has no order in itself: what tells
 * the guest that the rest is there is written after the rest, by a call of its own; a value of up to 32 bits that is aligned
 * is read and written in one piece.
 *
 * @throws EFAULT not mapped · EACCES mapped without that right, or the guest has bus mastering off · EAGAIN the device is
 *         stopped for migration
 */
export interface Dma {
  /** Copies guest memory at `iova` into `target`; await it. An access may go across maps. */
  read(iova: number, target: Uint8Array): void | Promise<void>
  /** Copies `source` into guest memory at `iova`; await it. A refusal may come after a part was written, up to the hole. */
  write(iova: number, source: Uint8Array): void | Promise<void>

  /** One value, little-endian, at any address; await it. Nothing is allocated where the memory is mapped here. */
  readU8(iova: number): number | Promise<number>
  readU16(iova: number): number | Promise<number>
  readU32(iova: number): number | Promise<number>
  readU64(iova: number): bigint | Promise<bigint>
  writeU8(iova: number, value: number): void | Promise<void>
  writeU16(iova: number, value: number): void | Promise<void>
  writeU32(iova: number, value: number): void | Promise<void>
  writeU64(iova: number, value: bigint): void | Promise<void>

  /**
   * Copies guest memory in several places, in the order of the list; await it. All of the list is checked first.
   *
   * @throws EINVAL the list is not as long as `target`
   */
  readList(list: readonly Segment[], target: Uint8Array): void | Promise<void>
  /** Copies `source` into several places, as {@link readList} does from them. */
  writeList(list: readonly Segment[], source: Uint8Array): void | Promise<void>

  /**
   * Guest memory itself, without a copy; inside one mapping that grants reading. It reads zeros after the client has unmapped
   * it, and what is stored into it then goes nowhere, as it always does where the mapping does not grant writing.
   *
   * While the client logs what the device writes, all of a view that can be written counts as written: release it when it is
   * done with, and take small ones.
   *
   * @param length bytes
   * @throws EOPNOTSUPP the memory can only be reached by copying (see `read` and `write`)
   */
  view(iova: number, length: number): Uint8Array
  /**
   * Says that nothing is stored any more through what `view` returned. Not needed before the client goes, nor for what it has
   * unmapped, but harmless.
   *
   * @throws EINVAL it is none, or was released already
   */
  releaseView(view: Uint8Array): void

  /**
   * Writes guest memory in several places with bytes of a file, on the thread pool: with no copy where the memory is mapped
   * here. What the client unmaps meanwhile goes when this has ended. All of the list is checked first.
   *
   * @param fd       open for reading; stays the caller's, and must stay open until the end
   * @param position in the file, bytes
   * @returns bytes written: fewer than the list has where the file ends
   * @throws EINVAL bad position · what reading the file says. It always rejects, and never throws at once
   */
  writeFromFile(list: readonly Segment[], fd: number, position: number): Promise<number>
  /** Reads guest memory in several places into a file that is open for writing, as {@link writeFromFile} does from one. */
  readToFile(list: readonly Segment[], fd: number, position: number): Promise<number>
  /** {@link writeFromFile}, done on return. @throws EOPNOTSUPP the VM has to be asked for that memory */
  writeFromFileSync(list: readonly Segment[], fd: number, position: number): number
  /** {@link readToFile}, done on return. @throws EOPNOTSUPP the VM has to be asked for that memory */
  readToFileSync(list: readonly Segment[], fd: number, position: number): number

  /**
   * Queues moving bytes of a file that `openFile` opened into guest memory in several places; `file.submit()` begins what is
   * queued, and follows in the same turn: an unmap waits for it. There is no copy where the memory is mapped here. What the client unmaps meanwhile goes when this has ended.
   *
   * @param list     stays as it is until `done`; all of it is checked first
   * @param position in the file, bytes
   * @param done     called once all has been moved, or with why not; some may have been moved then. Perhaps during `submit`
   * @throws EINVAL bad length or position · EBADF the file is closed · and of the list; nothing is queued then
   */
  queueFromFile(list: readonly Segment[], file: AsyncFile, position: number, done: FileDone): void
  /** Queues moving guest memory in several places into a file, as {@link queueFromFile} does from one. */
  queueToFile(list: readonly Segment[], file: AsyncFile, position: number, done: FileDone): void

  /**
   * Pins pages: they stay in memory, where they are, until they are unpinned or the client unmaps them. Pinned twice they need
   * to be unpinned twice. Before the client unmaps them the driver's `dmaUnmap` is told; what it does not let go of then is
   * taken from it. Pages that are locked count against the limits of the client's process and of the parent.
   *
   * While the client logs what the device writes, pages pinned for writing count as written.
   *
   * @param pages  of 4096 bytes, 1 to 512, in one map or several
   * @param access what the device will do, which all their maps must grant
   * @throws EINVAL unaligned, not all mapped, no client · E2BIG too many pages · EPERM a map does not grant that access ·
   *         EOPNOTSUPP memory that can only be reached by copying · ENOMEM beyond a limit; nothing is pinned then
   */
  pin(iova: number, pages: number, access: PinAccess): Pin

  /** What the client has mapped now, by IOVA; nothing without a client. */
  maps(): readonly DmaRange[]
}

/** One client's memory, which the gate opens to. A view is released wherever it came from. */
export type ClientMemory = Omit<Dma, 'releaseView'>

/** Guest memory behind a gate: open while a client is attached, and only to a function that may master the bus. */
export class DmaGate implements Dma {
  readonly #isBusMaster: () => boolean
  #client: ClientMemory | undefined
  #held = false
  /** What accesses reach now. */
  #memory: ClientMemory | undefined

  constructor(isBusMaster: () => boolean) {
    this.#isBusMaster = isBusMaster
  }

  /** Opens the gate to a client's memory, or shuts it. */
  set memory(memory: ClientMemory | undefined) {
    this.#client = memory
    this.#memory = this.#held ? undefined : memory
  }

  /** Shuts the gate while the device is stopped. */
  set held(held: boolean) {
    this.#held = held
    this.#memory = held ? undefined : this.#client
  }

  read(iova: number, target: Uint8Array): void | Promise<void> {
    return this.#open(iova).read(iova, target)
  }

  write(iova: number, source: Uint8Array): void | Promise<void> {
    return this.#open(iova).write(iova, source)
  }

  readU8(iova: number): number | Promise<number> {
    return this.#open(iova).readU8(iova)
  }

  readU16(iova: number): number | Promise<number> {
    return this.#open(iova).readU16(iova)
  }

  readU32(iova: number): number | Promise<number> {
    return this.#open(iova).readU32(iova)
  }

  readU64(iova: number): bigint | Promise<bigint> {
    return this.#open(iova).readU64(iova)
  }

  writeU8(iova: number, value: number): void | Promise<void> {
    return this.#open(iova).writeU8(iova, value)
  }

  writeU16(iova: number, value: number): void | Promise<void> {
    return this.#open(iova).writeU16(iova, value)
  }

  writeU32(iova: number, value: number): void | Promise<void> {
    return this.#open(iova).writeU32(iova, value)
  }

  writeU64(iova: number, value: bigint): void | Promise<void> {
    return this.#open(iova).writeU64(iova, value)
  }

  readList(list: readonly Segment[], target: Uint8Array): void | Promise<void> {
    return this.#openTo(list).readList(list, target)
  }

  writeList(list: readonly Segment[], source: Uint8Array): void | Promise<void> {
    return this.#openTo(list).writeList(list, source)
  }

  view(iova: number, length: number): Uint8Array {
    return this.#open(iova).view(iova, length)
  }

  /** Also while the gate is shut: nothing is accessed. */
  releaseView(view: Uint8Array): void {
    releaseView(view)
  }

  async writeFromFile(list: readonly Segment[], fd: number, position: number): Promise<number> {
    return this.#openTo(list).writeFromFile(list, fd, position)
  }

  async readToFile(list: readonly Segment[], fd: number, position: number): Promise<number> {
    return this.#openTo(list).readToFile(list, fd, position)
  }

  writeFromFileSync(list: readonly Segment[], fd: number, position: number): number {
    return this.#openTo(list).writeFromFileSync(list, fd, position)
  }

  readToFileSync(list: readonly Segment[], fd: number, position: number): number {
    return this.#openTo(list).readToFileSync(list, fd, position)
  }

  queueFromFile(list: readonly Segment[], file: AsyncFile, position: number, done: FileDone): void {
    this.#openTo(list).queueFromFile(list, file, position, done)
  }

  queueToFile(list: readonly Segment[], file: AsyncFile, position: number, done: FileDone): void {
    this.#openTo(list).queueToFile(list, file, position, done)
  }

  pin(iova: number, pages: number, access: PinAccess): Pin {
    if (this.#client === undefined)
      // as the kernel says it of a device that nobody has open
      throw new ErrnoError('EINVAL', `pin at ${hex(iova)}: no client is attached`)
    return this.#open(iova).pin(iova, pages, access)
  }

  maps(): readonly DmaRange[] {
    return this.#client?.maps() ?? []
  }

  #openTo(list: readonly Segment[]): ClientMemory {
    return this.#open(list[0]?.iova ?? 0)
  }

  #open(iova: number): ClientMemory {
    if (this.#memory === undefined) {
      if (this.#client !== undefined)
        throw new ErrnoError('EAGAIN', `dma at ${hex(iova)}: the device is stopped`)
      throw new ErrnoError('EFAULT', `dma at ${hex(iova)}: no client is attached`)
    }
    // QEMU leaves memory mapped when the guest clears Bus Master Enable, so the bit is ours to obey.
    if (!this.#isBusMaster()) {
      throw new ErrnoError('EACCES', `dma at ${hex(iova)}: bus mastering is off`)
    }
    return this.#memory
  }
}
