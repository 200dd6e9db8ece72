/** The control plane as the daemon offers it: the machine, and why what should be active is not. */
import { ErrnoError } from '../lib/errno.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type {
  CallerOptions,
  ControlPlane,
  SharedControlPlane,
  DefinedMdev,
  DefineOptions,
  DefinitionFault,
  DefinitionKey,
  MdevView,
  ParentView,
  StartRequest,
  StopOptions,
  TakeOptions,
  UnregisterOptions,
} from '../mdev/control-plane.ts'
import type { Definition } from '../mdev/definition.ts'
import type { Owner } from '../mdev/owner.ts'
import type { MdevSnapshot } from '../mdev/state.ts'
import type { Autostart } from './autostart.ts'
import type { CalloutPlane } from './callout-plane.ts'
import type { Hosts } from './hosts.ts'
import type { Machine } from './machine.ts'
import { OwnedPlane } from './owned-plane.ts'
import type { Registrations } from './registrations.ts'

export interface DaemonPlaneOptions {
  readonly machine: Machine | CalloutPlane
  /** The same with nobody's scripts, for callers that run them. */
  readonly bare?: Machine
  readonly hosts: Hosts
  readonly autostart: Autostart
  /** The daemon's: whose definitions are that name nobody. */
  readonly owner: Owner
  readonly registrations: Registrations
}

export class DaemonPlane implements SharedControlPlane {
  readonly #options: DaemonPlaneOptions

  constructor(options: DaemonPlaneOptions) {
    this.#options = options
  }

  async parents(): Promise<readonly ParentView[]> {
    return this.#options.registrations.parents()
  }

  async list(): Promise<{
    readonly mdevs: readonly MdevView[]
    readonly faults: readonly DefinitionFault[]
  }> {
    const { mdevs, faults } = await this.#options.machine.list()
    return { mdevs: this.#waiting(mdevs), faults }
  }

  async find(uuid: string): Promise<readonly MdevView[]> {
    return this.#waiting(await this.#options.machine.find(uuid))
  }

  /** The same, with the reasons why they are not active, where they should be. */
  #waiting(mdevs: readonly MdevView[]): readonly MdevView[] {
    const said = new Map(
      this.#options.autostart.waiting.map(({ parent, uuid, why }) => [`${parent}/${uuid}`, why]),
    )
    const whyNot = ({ parent, uuid }: MdevView) =>
      said.get(`${parent}/${uuid}`) ?? this.#whyNotStarted(parent)
    return mdevs.map((mdev) => waiting(mdev, whyNot))
  }

  async define(
    key: DefinitionKey,
    definition: Definition,
    options: DefineOptions = {},
  ): Promise<DefinedMdev> {
    return this.#options.machine.define(key, definition, options)
  }

  async undefine(uuid: string, parent?: string, options: TakeOptions = {}): Promise<void> {
    return this.#options.machine.undefine(uuid, parent, options)
  }

  async start(request: StartRequest, owner?: Owner): Promise<MdevSnapshot> {
    return this.#options.machine.start(request, owner)
  }

  async stop(uuid: string, options: StopOptions = {}): Promise<void> {
    return this.#options.machine.stop(uuid, options)
  }

  async change(uuid: string, attributes: AttributeTexts): Promise<MdevSnapshot> {
    return this.#options.machine.change(uuid, attributes)
  }

  async changeParent(parent: string, attributes: AttributeTexts): Promise<ParentView> {
    return this.#options.machine.changeParent(parent, attributes)
  }

  async unregister(parent: string, options: UnregisterOptions = {}): Promise<void> {
    return this.#options.registrations.unregister(parent, options)
  }

  async register(parent: string): Promise<ParentView> {
    const { registrations } = this.#options
    await registrations.register(parent)
    const view = registrations.parents().find(({ name }) => name === parent)
    if (view === undefined) throw new ErrnoError('ENOENT', `parent ${parent}: gone again`)
    return view
  }

  by(caller: Owner, { runsScripts = false }: CallerOptions = {}): ControlPlane {
    const { owner: fallback, bare } = this.#options
    const plane =
      runsScripts && bare !== undefined
        ? new DaemonPlane({ ...this.#options, machine: bare })
        : this
    return new OwnedPlane({ plane, caller, fallback })
  }

  /** Undefined where it has one: then nobody waits, as it was stopped by hand or is defined since. */
  #whyNotStarted(parent: string): string | undefined {
    const { hosts, registrations } = this.#options
    if (hosts.find(parent) !== undefined) return undefined
    return `parent ${parent}: ${registrations.whyNoHost(parent) ?? 'no host runs it'}`
  }
}

/** The same, with the reason why it is not active, if it should be. */
function waiting(mdev: MdevView, whyNot: (mdev: MdevView) => string | undefined): MdevView {
  if (mdev.active !== undefined || mdev.definition?.start !== 'auto') return mdev
  const waits = whyNot(mdev)
  return waits === undefined ? mdev : { ...mdev, waits }
}
