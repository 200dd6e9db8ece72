/** What an administrator can ask of a machine, wherever the answer comes from: the daemon itself, or its HTTP API. */
import type { AttributeTexts } from './attribute.ts'
import type { Definition } from './definition.ts'
import type { MdevSnapshot, ParentSnapshot } from './state.ts'

/** A parent, and the process that runs it. */
export interface ParentView extends ParentSnapshot {
  /** Absent while there is none. */
  readonly pid?: number
  /** Why there is none, of a parent that should have one: then no more is known of it than its name and its driver. */
  readonly waits?: string
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

export interface ControlPlane {
  /** Parents whose hosts are there, and those whose hosts should be, by name. */
  parents(): Promise<readonly ParentView[]>
  /** Everything active or defined, by parent and UUID; and the files that should be definitions and are none. */
  list(): Promise<{
    readonly mdevs: readonly MdevView[]
    readonly faults: readonly DefinitionFault[]
  }>
  /**
   * Defines an mdev; neither its parent nor its type needs to be there.
   *
   * @param options `replace` writes over what is defined there
   * @throws EEXIST it is defined on that parent already · EINVAL no uuid, no parent's name · ENOSPC, EACCES, EROFS
   */
  define(
    key: DefinitionKey,
    definition: Definition,
    options?: { readonly replace?: boolean },
  ): Promise<DefinedMdev>
  /**
   * Takes the definitions of a UUID back, that of one parent or all; an mdev that is active lives on.
   *
   * @throws ENOENT none is there
   */
  undefine(uuid: string, parent?: string): Promise<void>
  /**
   * Makes an mdev active.
   *
   * @throws EEXIST it is active already, or defined there with another type · ENOENT no such parent, type or attribute ·
   *         EINVAL too little is said, or it is defined under several parents · EUSERS, ENOSPC no instance left · what its
   *         driver says
   */
  start(request: StartRequest): Promise<MdevSnapshot>
  /** @throws ENOENT it is not active · EBUSY a client uses it, unless `force` takes it away or `wait` waits for it */
  stop(uuid: string, options?: { readonly force?: boolean; readonly wait?: boolean }): Promise<void>
  /** Changes settings of an active mdev. @throws ENOENT it is not active · as MdevDevice.changeAttributes */
  change(uuid: string, attributes: AttributeTexts): Promise<MdevSnapshot>
  /** Changes settings of a parent itself. @throws ENOENT no host runs it · as Parent.changeAttributes */
  changeParent(parent: string, attributes: AttributeTexts): Promise<ParentView>
}
