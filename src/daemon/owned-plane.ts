/** The control plane as one caller has it: what they make is theirs, and what is another's they do not touch unless they say so. */
import { ErrnoError } from '../lib/errno.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type {
  ControlPlane,
  DefinedMdev,
  DefineOptions,
  DefinitionKey,
  ParentView,
  StartRequest,
  StopOptions,
  TakeOptions,
  UnregisterOptions,
} from '../mdev/control-plane.ts'
import type { Definition } from '../mdev/definition.ts'
import {
  describeOwner,
  isSameOwner,
  type Owner,
  ownerOfDefinition,
  withOwner,
} from '../mdev/owner.ts'
import type { MdevSnapshot } from '../mdev/state.ts'

/** What is asked on somebody's behalf, and who that is. */
export interface OwnedPlaneOptions {
  readonly plane: ControlPlane & {
    start(request: StartRequest, owner?: Owner): Promise<MdevSnapshot>
  }
  readonly caller: Owner
  /** Whose definitions are that name nobody: those that mdevctl or an editor has written. */
  readonly fallback: Owner
}

export class OwnedPlane implements ControlPlane {
  readonly #options: OwnedPlaneOptions
  readonly parents: ControlPlane['parents']
  readonly list: ControlPlane['list']
  readonly find: ControlPlane['find']
  readonly register: ControlPlane['register']

  constructor(options: OwnedPlaneOptions) {
    const { plane } = options
    this.#options = options
    this.parents = plane.parents.bind(plane)
    this.list = plane.list.bind(plane)
    this.find = plane.find.bind(plane)
    this.register = plane.register.bind(plane)
  }

  /** Who has defined it first stays its owner. @throws also EPERM it is another's */
  async define(
    key: DefinitionKey,
    definition: Definition,
    options: DefineOptions = {},
  ): Promise<DefinedMdev> {
    const { plane, caller, fallback } = this.#options
    const views = await this.#options.plane.find(key.uuid)
    const before = views.find(({ parent }) => parent === key.parent)?.definition
    if (before !== undefined && options.replace === true)
      this.#mustBeOurs(`mdev ${key.uuid}`, this.#ownerOf(before), options)
    const owner = before === undefined ? caller : this.#ownerOf(before)
    const named = isSameOwner(owner, fallback) ? undefined : owner
    return plane.define(key, withOwner(definition, named), options)
  }

  /** @throws also EPERM one of them is another's; then all stay */
  async undefine(uuid: string, parent?: string, options: TakeOptions = {}): Promise<void> {
    for (const view of await this.#options.plane.find(uuid)) {
      if (view.definition === undefined || (parent ?? view.parent) !== view.parent) continue
      this.#mustBeOurs(`mdev ${uuid}`, this.#ownerOf(view.definition), options)
    }
    return this.#options.plane.undefine(uuid, parent, options)
  }

  /** It is the caller's, whoever has defined it. */
  async start(request: StartRequest): Promise<MdevSnapshot> {
    const { plane, caller } = this.#options
    return plane.start(request, caller)
  }

  /** @throws also EPERM it is another's */
  async stop(uuid: string, options: StopOptions = {}): Promise<void> {
    await this.#mustBeOurMdev(uuid, options)
    return this.#options.plane.stop(uuid, options)
  }

  /** @throws also EPERM it is another's */
  async change(
    uuid: string,
    attributes: AttributeTexts,
    options: TakeOptions = {},
  ): Promise<MdevSnapshot> {
    await this.#mustBeOurMdev(uuid, options)
    return this.#options.plane.change(uuid, attributes)
  }

  /** It is a change of every mdev on it. @throws also EPERM one of them is another's */
  async changeParent(
    parent: string,
    attributes: AttributeTexts,
    options: TakeOptions = {},
  ): Promise<ParentView> {
    await this.#mustBeOurParent(parent, options)
    return this.#options.plane.changeParent(parent, attributes)
  }

  /** It removes every mdev on it. @throws also EPERM one of them is another's */
  async unregister(parent: string, options: UnregisterOptions = {}): Promise<void> {
    await this.#mustBeOurParent(parent, options, '--take-over')
    return this.#options.plane.unregister(parent, options)
  }

  /** @param remedy what lets it be done all the same */
  async #mustBeOurParent(parent: string, options: TakeOptions, remedy?: string): Promise<void> {
    const { mdevs = [] } = (await this.parents()).find(({ name }) => name === parent) ?? {}
    for (const { uuid, owner } of mdevs)
      if (owner !== undefined)
        this.#mustBeOurs(`parent ${parent}: mdev ${uuid}`, owner, options, remedy)
  }

  /** What is active and nobody's was made past the daemon: it is anybody's. */
  async #mustBeOurMdev(uuid: string, options: TakeOptions): Promise<void> {
    for (const { active } of await this.#options.plane.find(uuid)) {
      if (active?.owner !== undefined) this.#mustBeOurs(`mdev ${uuid}`, active.owner, options)
    }
  }

  /** @param what begins what is said of it: `mdev UUID` */
  #mustBeOurs(
    what: string,
    owner: Owner,
    { takeOver = false }: TakeOptions,
    remedy = '--force',
  ): void {
    const { caller } = this.#options
    if (takeOver || isSameOwner(owner, caller)) return
    const whose = describeOwner(owner, caller)
    throw new ErrnoError('EPERM', `${what}: made by ${whose}; ${remedy} to take it anyway`)
  }

  #ownerOf(definition: Definition): Owner {
    return ownerOfDefinition(definition) ?? this.#options.fallback
  }
}
