/** All mediated devices of a machine: what its hosts bear, what is defined, and what can be done about both. */
import { EventEmitter } from 'node:events'
import type { ControlClient } from '../host/control-client.ts'
import { ErrnoError } from '../lib/errno.ts'
import { freshUuid, parseUuid } from '../lib/uuid.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { Definition } from '../mdev/definition.ts'
import type {
  ControlPlane,
  DefinedMdev,
  DefinitionFault,
  DefinitionKey,
  MdevView,
  ParentView,
  StartRequest,
  UnregisterOptions,
} from '../mdev/control-plane.ts'
import type { Owner } from '../mdev/owner.ts'
import type { MdevSnapshot } from '../mdev/state.ts'
import type { UeventOf } from '../sysfs/source.ts'
import type { WrittenUevent } from '../sysfs/written.ts'
import { byParentAndUuid, type DefinitionStore } from './definition-store.ts'
import type { Hosts } from './hosts.ts'
import { Quotas } from './quotas.ts'

const UNLIMITED = new Quotas({ parents: new Map(), owners: new Map() })

/**
 * - `defined`, `undefined`: a definition was written, or is no more.
 * - `uevent`: somebody wants this to be told of a parent or mdev, though nothing has happened.
 */
interface MachineEvents {
  defined: [mdev: DefinedMdev]
  undefined: [key: DefinitionKey]
  uevent: [of: UeventOf, uevent: WrittenUevent]
}

/** What a request to start something comes to. */
export interface WantedMdev extends DefinitionKey, Definition {}

export class Machine extends EventEmitter<MachineEvents> implements ControlPlane {
  readonly #hosts: Hosts
  readonly #definitions: DefinitionStore
  readonly #quotas: Quotas
  readonly #whyNoHost: (parent: string) => string | undefined

  /** @param whyNoHost says of a parent that should have a host why it has none */
  constructor(
    hosts: Hosts,
    definitions: DefinitionStore,
    quotas: Quotas = UNLIMITED,
    whyNoHost: (parent: string) => string | undefined = () => undefined,
  ) {
    super()
    this.#hosts = hosts
    this.#definitions = definitions
    this.#quotas = quotas
    this.#whyNoHost = whyNoHost
  }

  async parents(): Promise<readonly ParentView[]> {
    return this.#parents()
  }

  #parents(): readonly ParentView[] {
    return this.#hosts.all
      .map(({ parent, pid }) => ({ ...parent, pid }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  async list(): Promise<{
    readonly mdevs: readonly MdevView[]
    readonly faults: readonly DefinitionFault[]
  }> {
    return this.#list()
  }

  #list(): { readonly mdevs: readonly MdevView[]; readonly faults: readonly DefinitionFault[] } {
    const { mdevs: defined, faults } = this.#definitions.list()
    const views = new Map<string, MdevView>()
    for (const { parent, uuid, definition } of defined) {
      views.set(`${parent}/${uuid}`, { parent, uuid, definition })
    }
    for (const { mdevs } of this.#parents()) {
      for (const active of mdevs) {
        const { parent, uuid } = active
        const key = `${parent}/${uuid}`
        views.set(key, { ...(views.get(key) ?? { parent, uuid }), active })
      }
    }
    return { mdevs: [...views.values()].toSorted(byParentAndUuid), faults }
  }

  async find(uuid: string): Promise<readonly MdevView[]> {
    const wanted = parseUuid(uuid)
    const views = new Map<string, MdevView>()
    for (const defined of this.#definitions.findReadable(wanted)) views.set(defined.parent, defined)
    for (const host of this.#hosts.all) {
      const active = host.mdev(wanted)
      if (active === undefined) continue
      const { parent } = active
      views.set(parent, { ...(views.get(parent) ?? { parent, uuid: wanted }), active })
    }
    return [...views.values()].toSorted(byParentAndUuid)
  }

  async define(
    key: DefinitionKey,
    definition: Definition,
    { replace = false } = {},
  ): Promise<DefinedMdev> {
    const mdev = { parent: key.parent, uuid: parseUuid(key.uuid), definition }
    this.#definitions.write(mdev, definition, { replace })
    this.emit('defined', mdev)
    return mdev
  }

  async undefine(uuid: string, parent?: string): Promise<void> {
    for (const key of this.definitionsOf(uuid, parent)) {
      this.#definitions.remove(key)
      this.emit('undefined', { parent: key.parent, uuid: key.uuid })
    }
  }

  /** @param owner who will have made it */
  async start(request: StartRequest, owner?: Owner): Promise<MdevSnapshot> {
    const { uuid, parent, type, attributes } = this.wanted(request)
    const active = this.#activeOn(uuid)
    if (active !== undefined)
      throw new ErrnoError('EEXIST', `mdev ${uuid}: active on parent ${active.parent.name}`)
    return this.create({ parent, uuid }, type, attributes, owner)
  }

  /** Makes an mdev, whatever is defined. @throws as Parent.create · ENOENT no such parent · EDQUOT */
  async create(
    { parent, uuid }: DefinitionKey,
    type: string,
    attributes: AttributeTexts,
    owner?: Owner,
  ): Promise<MdevSnapshot> {
    const host = this.#host(parent)
    const mdevs = () => this.#hosts.all.flatMap((each) => each.parent.mdevs)
    return this.#quotas.within({ uuid, parent, owner }, mdevs, async () =>
      host.create(type, uuid, attributes, owner),
    )
  }

  async stop(uuid: string, options: { force?: boolean; wait?: boolean } = {}): Promise<void> {
    await this.#bearer(uuid).remove(parseUuid(uuid), options)
  }

  async change(uuid: string, attributes: AttributeTexts): Promise<MdevSnapshot> {
    return this.#bearer(uuid).changeAttributes(parseUuid(uuid), attributes)
  }

  async changeParent(parent: string, attributes: AttributeTexts): Promise<ParentView> {
    const host = this.#host(parent)
    return { ...(await host.changeParent(attributes)), pid: host.pid }
  }

  async unregister(parent: string, options: UnregisterOptions = {}): Promise<void> {
    const { force = false, wait = false } = options
    await this.#host(parent).unregister({ force, wait })
  }

  /** Nobody has configured any here. */
  async register(parent: string): Promise<ParentView> {
    const { pid } = this.#host(parent)
    throw new ErrnoError('EEXIST', `parent ${parent}: its host is there, pid ${pid}`)
  }

  /** Has an event told that was asked for. */
  tellUevent(of: UeventOf, uevent: WrittenUevent): void {
    this.emit('uevent', of, uevent)
  }

  /** @throws EINVAL nothing can be defined by this name */
  checkKey(key: DefinitionKey): void {
    this.#definitions.check(key)
  }

  /** The definitions of a UUID. @throws ENOENT there is none · EINVAL, ELOOP, EFBIG one is no definition */
  definitionsOf(uuid: string, parent?: string): readonly DefinedMdev[] {
    const defined = this.#definitions.find(uuid, parent)
    if (defined.length === 0) throw new ErrnoError('ENOENT', `mdev ${uuid}: not defined`)
    return defined
  }

  /** Which mdev a request is for, and how it is to be. @throws EINVAL, EEXIST as start */
  wanted(request: StartRequest): WantedMdev {
    const { parent, type, attributes } = request
    const uuid = request.uuid === undefined ? freshUuid() : parseUuid(request.uuid)
    const defined = this.#definitions.find(uuid, parent)
    const [only, ...more] = defined
    if (more.length > 0) {
      const parents = defined.map((each) => each.parent).join(', ')
      throw new ErrnoError('EINVAL', `mdev ${uuid}: defined on ${parents}: say which parent`)
    }
    if (only === undefined) {
      if (parent === undefined || type === undefined) {
        const missing = parent === undefined ? 'parent' : 'type'
        throw new ErrnoError('EINVAL', `mdev ${uuid}: not defined, so it needs a ${missing}`)
      }
      return { uuid, parent, type, start: 'manual', attributes: attributes ?? [] }
    }
    const { definition } = only
    if (type !== undefined && type !== definition.type) {
      throw new ErrnoError(
        'EEXIST',
        `mdev ${uuid}: defined on parent ${only.parent} with type ${definition.type}`,
      )
    }
    return {
      uuid,
      parent: only.parent,
      type: definition.type,
      start: definition.start,
      attributes: attributes ?? definition.attributes,
    }
  }

  #activeOn(uuid: string): ControlClient | undefined {
    return this.#hosts.all.find((host) => host.bears(uuid))
  }

  /** @throws ENOENT */
  #bearer(uuid: string): ControlClient {
    const host = this.#activeOn(parseUuid(uuid))
    if (host === undefined) throw new ErrnoError('ENOENT', `mdev ${uuid}: not active`)
    return host
  }

  /** @throws ENOENT */
  #host(parent: string): ControlClient {
    const host = this.#hosts.find(parent)
    if (host !== undefined) return host
    const why = this.#whyNoHost(parent)
    if (why !== undefined) throw new ErrnoError('ENOENT', `parent ${parent}: ${why}`)
    const others = this.#hosts.all.map((each) => each.parent.name)
    const alike = others.find((name) => name.toLowerCase() === parent.toLowerCase())
    const hint = alike === undefined ? '' : `; did you mean ${alike}?`
    throw new ErrnoError('ENOENT', `parent ${parent}: no host runs it${hint}`)
  }
}
