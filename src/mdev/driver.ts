/** What a driver is: a name, types, and a `probe` that builds a device. */
import type { PciFunction, PciIdentity, ResetCause } from '../device/pci.ts'
import type { DeviceState } from '../device/device-state.ts'
import type { Dma, DmaRange } from '../device/dma.ts'
import type { SharedMemory } from '../device/shared-memory.ts'
import type { Logger } from '../lib/log.ts'
import type { Attributes, ValuesOf } from './attribute.ts'
import { checkDriver } from './check-driver.ts'
import type { GroupMember } from './group.ts'
import type { TypeAttributes } from './type-attributes.ts'

/** What can be created. A driver adds fields of its own. */
export interface TypeInfo {
  /** A pretty name, for people; the type's id unless given. */
  readonly name?: string
  readonly description?: string
  /** Whether its mdevs can join one group with others, of other parents too: those are one user's, all or none. */
  readonly peerToPeer?: boolean
  /**
   * Ids that it had in earlier versions of the driver: what was defined with one of them still starts, as this type. Where a type
   * changes so that guests would notice, give it a new id instead, with a version in it (`V5_4`).
   */
  readonly aliases?: readonly string[]
  /** What is different for its mdevs of the driver's `attributes`: another default or range, or `false` where they have none. */
  readonly attributes?: TypeAttributes
  readonly [own: string]: unknown
}

/** One mediated device, as its driver sees it. */
export interface Mdev<T extends TypeInfo = TypeInfo, A extends Attributes = Attributes> {
  readonly uuid: string
  /** The driver's own entry of `types`. */
  readonly type: T
  /** The driver's settings as they are now: a new object after each change. */
  readonly attributes: ValuesOf<A>
  /** A private directory for sockets, links and files that people look for; it is removed with the mdev. */
  readonly directory: string
  readonly dma: Dma
  readonly log: Logger
  /** Makes this mdev a PCI function; once, from `probe`. */
  pci(identity: PciIdentity): PciFunction
  /**
   * Makes memory to back BARs with; from `probe`. It is the mdev's, freed after `remove`, or when the creation fails.
   *
   * What it holds stays at a reset and when the client goes: it is for `reset` to clear. A client that has gone does not see
   * what the next one does.
   *
   * @param size bytes, 1 to 4 GiB; pages that nobody touches take no room
   * @throws EINVAL another size · EBUSY after `probe` · ENOMEM, EMFILE
   */
  sharedMemory(size: number): SharedMemory
}

/** What a driver can do with a device it has built. */
export interface DeviceOps<A extends Attributes = Attributes> {
  /** Back to the power-on state: by the client or the guest ('device', 'flr'), or because the client went ('disconnect'). */
  reset(why: ResetCause): void
  /**
   * Called after the client has had it reset: a promise of the end of what still uses guest memory, if anything does. It keeps
   * the client waiting, for 3 s at most, and must not wait for the client, as access to memory that is not shared does.
   */
  quiesce?(): void | Promise<void>
  /** The mdev is being removed: let go of what `probe` took. */
  remove?(): void
  /** The client has mapped memory, as `mdev.dma.maps()` shows it. What this throws is logged. */
  dmaMap?(range: DmaRange): void
  /**
   * The client is about to unmap this, all of one map: let go of its pins and views before returning, and use it no more.
   * It is not called for what is mapped when the client goes: that is `reset('disconnect')`. What this throws is logged.
   */
  dmaUnmap?(range: DmaRange): void
  /**
   * Settings of a running mdev are to change, all of them or none: those whose change is 'live'. Throwing refuses.
   *
   * @param next what `mdev.attributes` will be once this has returned, or what it returns has resolved
   */
  changeAttributes?(next: ValuesOf<A>): void | Promise<void>
  /** What this mdev shows of itself besides its settings, such as the path of a terminal; read when asked for. */
  status?(): Readonly<Record<string, string>>
  /** How the device's own state is saved and taken over; with it the mdev can migrate. */
  readonly state?: DeviceState
}

/** A group in use, as a driver with mdevs in it sees it: the same object from `groupOpen` to `groupClose`. */
export interface MdevGroup<T extends TypeInfo = TypeInfo, A extends Attributes = Attributes> {
  readonly number: number
  /** Of a group that was joined; an mdev's own has none. */
  readonly uuid?: string
  /** For people: `pid 4711 (qemu-system-x86)`. */
  readonly user: string
  /** The parent's own mdevs in it. */
  readonly mdevs: readonly Mdev<T, A>[]
  /** All that are in it, those of other parents too. */
  readonly members: readonly GroupMember[]
}

/** The parent, as its driver sees it. */
export interface ParentHandle<S extends Attributes = Attributes> {
  readonly name: string
  /** The parent's settings as they are now: a new object after each change. */
  readonly attributes: ValuesOf<S>
  readonly log: Logger
}

/**
 * A kind of device. Write one with {@link defineDriver}.
 *
 * `T` are its types, `A` the settings of an mdev, `S` those of the parent, and `P` what {@link Driver.open} makes for all
 * mdevs of a parent to share. They are inferred, `P` from an `open` that stands before what uses it.
 */
export interface Driver<
  T extends TypeInfo = TypeInfo,
  A extends Attributes = Attributes,
  S extends Attributes = Attributes,
  P = unknown,
> {
  /** Types appear as `<name>-<id>`. */
  readonly name: string
  readonly types: Readonly<Record<string, T>>
  /** Settings of an mdev, given where it is created or defined. */
  readonly attributes?: A
  /** Settings of the parent itself, given where it is registered. */
  readonly parentAttributes?: S
  /**
   * Opens what the mdevs of the parent share, once, before there are any. What it throws refuses the registration; so does
   * a promise of it that takes longer than 20 s.
   */
  open?(parent: ParentHandle<S>): P | Promise<P>
  /** The parent is unregistered and its mdevs are gone: lets go of what `open` took. */
  close?(shared: P): void | Promise<void>
  /**
   * Most mdevs of a parent, of whatever types; creating one more is EUSERS, as where the kernel's core counts. Instead of
   * `available`; with neither there is no limit.
   */
  readonly maxInstances?: number
  /**
   * How many more mdevs of `type` fit beside `mdevs`, the ones that exist under the parent: a function of the driver's
   * own, or a ready-made policy (`perType`, `sharedBudget`, `homogeneous`). Creating at 0 is ENOSPC.
   */
  available?(type: T, mdevs: readonly Pick<Mdev<T, A>, 'type' | 'uuid'>[], shared: P): number
  /**
   * Builds a device. What it throws refuses the creation; what was built by us is freed.
   *
   * It may be asynchronous where it has to open something first.
   */
  probe(mdev: Mdev<T, A>, shared: P): DeviceOps<A> | Promise<DeviceOps<A>>
  /**
   * Some process is about to open a group with mdevs of this parent in it, of which nobody has any open: commit here what they
   * share. Called once, whichever member is the first, and for a group of one mdev too. Throwing refuses the client; then
   * `groupClose` is not called. It may take 1.5 s; what comes later is closed.
   */
  groupOpen?(group: MdevGroup<T, A>, shared: P): void | Promise<void>
  /**
   * The process has closed all that it had open, after each mdev's `reset`, or the parent's last mdev in the group is being
   * removed: free what `groupOpen` committed. The next user waits for it. What this throws is logged.
   */
  groupClose?(group: MdevGroup<T, A>, shared: P): void | Promise<void>
  /** What the parent shows of itself besides its settings, such as the room that is left; read when asked for. */
  parentStatus?(shared: P): Readonly<Record<string, string>>
  /** What a type shows besides name, description, device_api and available_instances; read when asked for. */
  typeStatus?(type: T, shared: P): Readonly<Record<string, string>>
  /**
   * Settings of the parent are to change, all of them or none: those whose change is 'live'. Throwing refuses.
   *
   * @param next what `parent.attributes` will be once this has returned, or what it returns has resolved
   */
  changeParentAttributes?(next: ValuesOf<S>, shared: P): void | Promise<void>
}

/**
 * Declares a driver; types and attributes are inferred from it.
 *
 * @throws EINVAL as {@link checkDriver}
 */
export function defineDriver<
  T extends TypeInfo,
  const A extends Attributes = Record<string, never>,
  const S extends Attributes = Record<string, never>,
  P = void,
>(driver: Driver<T, A, S, P>): Driver<T, A, S, P> {
  checkDriver(driver)
  return driver
}
