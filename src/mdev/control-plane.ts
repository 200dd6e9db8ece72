/** What an administrator can ask of a machine, wherever the answer comes from: the daemon itself, or its HTTP API. */
import type { AttributeTexts } from './attribute.ts'
import type { Definition } from './definition.ts'
import type { Owner } from './owner.ts'
import type { MdevSnapshot, ParentSnapshot } from './state.ts'

/** A parent, and the process that runs it. */
export interface ParentView extends ParentSnapshot {
  /** Absent while there is none. */
  readonly pid?: number
  /**
   * Why there is none, of a parent that should have one: then no more is known of it than its name and its driver. Of one that is
   * being unregistered: who keeps it.
   */
  readonly waits?: string
  /** An administrator has taken it away, and it waits until they bring it back; else not there. */
  readonly unregistered?: boolean
  /** What its host should have had, by the configuration, and has not: limits, privileges. */
  readonly warnings?: readonly string[]
}

/** Which definition: a UUID may be defined under several parents. */
export interface DefinitionKey {
  readonly parent: string
  /** Lower case. */
  readonly uuid: string
}

export interface DefinedMdev extends DefinitionKey {
  readonly definition: Definition
}

/** One UUID on one parent: active, defined, or both. */
export interface MdevView extends DefinitionKey {
  readonly active?: MdevSnapshot
  readonly definition?: Definition
  /** Why it is not active, although it should be. */
  readonly waits?: string
}

/** A file among the definitions that is none. */
export interface DefinitionFault {
  readonly path: string
  /** `EINVAL: invalid json` */
  readonly message: string
}

/** What is to be started: a definition, named by its UUID, or an mdev without one. */
export interface StartRequest {
  readonly uuid?: string
  readonly parent?: string
  readonly type?: string
  /** Instead of the definition's. */
  readonly attributes?: AttributeTexts
}

export interface TakeOptions {
  /** Though another owner has made it, or a callout script refuses. */
  readonly takeOver?: boolean
}

export interface DefineOptions extends TakeOptions {
  /** Writes over what is defined there. */
  readonly replace?: boolean
}

export interface StopOptions extends TakeOptions {
  /** Takes it away from its client. */
  readonly force?: boolean
  /** Waits until its client lets go. */
  readonly wait?: boolean
}

export interface UnregisterOptions extends TakeOptions {
  /** Takes its mdevs from their clients; a host that does not answer is killed. */
  readonly force?: boolean
  /** Asks clients to let go, and waits for them. */
  readonly wait?: boolean
}

/** Who made something is looked at where there is a caller: then EPERM is what is another's, without `takeOver`. */
export interface ControlPlane {
  /** Parents whose hosts are there, and those whose hosts should be, by name. */
  parents(): Promise<readonly ParentView[]>
  /** Everything active or defined, by parent and UUID; and the files that should be definitions and are none. */
  list(): Promise<{
    readonly mdevs: readonly MdevView[]
    readonly faults: readonly DefinitionFault[]
  }>
  /** A UUID on each parent where it is active or defined, by parent. @throws EINVAL no uuid */
  find(uuid: string): Promise<readonly MdevView[]>
  /**
   * Defines an mdev; neither its parent nor its type needs to be there.
   *
   * @throws EEXIST it is defined on that parent already · EINVAL no uuid, no parent's name · ENOSPC, EACCES, EROFS
   */
  define(key: DefinitionKey, definition: Definition, options?: DefineOptions): Promise<DefinedMdev>
  /**
   * Takes the definitions of a UUID back, that of one parent or all; an mdev that is active lives on.
   *
   * @throws ENOENT none is there
   */
  undefine(uuid: string, parent?: string, options?: TakeOptions): Promise<void>
  /**
   * Makes an mdev active.
   *
   * @throws EEXIST it is active already, or defined there with another type · ENOENT no such parent, type or attribute ·
   *         EINVAL too little is said, or it is defined under several parents · EUSERS, ENOSPC no instance left · EDQUOT · what its
   *         driver says
   */
  start(request: StartRequest): Promise<MdevSnapshot>
  /** @throws ENOENT it is not active · EBUSY a client uses it, unless `force` takes it away or `wait` waits for it */
  stop(uuid: string, options?: StopOptions): Promise<void>
  /** Changes settings of an active mdev. @throws ENOENT it is not active · as MdevDevice.changeAttributes */
  change(uuid: string, attributes: AttributeTexts, options?: TakeOptions): Promise<MdevSnapshot>
  /** Changes settings of a parent itself. @throws ENOENT no host runs it · as Parent.changeAttributes */
  changeParent(
    parent: string,
    attributes: AttributeTexts,
    options?: TakeOptions,
  ): Promise<ParentView>
  /**
   * Removes all mdevs of a parent, and ends its host. Once it has begun it cannot be called off; asked again it waits for the
   * same end, and with `force` hastens it. A parent of the configuration gets no other host until it is registered again.
   *
   * @throws ENOENT no host runs it · EBUSY clients use its mdevs, unless `force` takes them away or `wait` waits for them · ENODEV it
   *         is unregistered already · EAGAIN its host is starting, or does not answer
   */
  unregister(parent: string, options?: UnregisterOptions): Promise<void>
  /**
   * Starts the host of a parent of the configuration again. Where it cannot be started, `waits` of the answer says why; it is tried
   * again.
   *
   * @throws ENOENT none is configured by that name · EEXIST its host is there · EBUSY it is being unregistered
   */
  register(parent: string): Promise<ParentView>
}

export interface CallerOptions {
  /** Whether the caller runs mdevctl's scripts around what it asks for, so that nobody else does. */
  readonly runsScripts?: boolean
}

/** What a machine offers to several callers. */
export interface SharedControlPlane extends ControlPlane {
  /** The same on somebody's behalf: what is made is theirs, and what is another's is refused. */
  by?(caller: Owner, options?: CallerOptions): ControlPlane
}
