/** The control plane as the daemon offers it: the machine, and why what should be active is not. */
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
} from '../mdev/control-plane.ts'
import type { Definition } from '../mdev/definition.ts'
import type { Owner } from '../mdev/owner.ts'
import type { MdevSnapshot } from '../mdev/state.ts'
import type { Autostart } from './autostart.ts'
import type { CalloutPlane } from './callout-plane.ts'
import type { Hosts } from './hosts.ts'
import type { Machine } from './machine.ts'
import { OwnedPlane } from './owned-plane.ts'
import type { Supervisor } from './supervisor.ts'

export interface DaemonPlaneOptions {
  readonly machine: Machine | CalloutPlane
  /** The same with nobody's scripts, for callers that run them. */
  readonly bare?: Machine
  readonly hosts: Hosts
  readonly autostart: Autostart
  /** The daemon's: whose definitions are that name nobody. */
  readonly owner: Owner
  /** By the names of their parents. */
  readonly supervisors: ReadonlyMap<string, Supervisor>
}

export class DaemonPlane implements SharedControlPlane {
  readonly #options: DaemonPlaneOptions

  constructor(options: DaemonPlaneOptions) {
    this.#options = options
  }

  async parents(): Promise<readonly ParentView[]> {
    const { machine, hosts, supervisors } = this.#options
    const missing = [...supervisors]
      .filter(([name]) => hosts.find(name) === undefined)
      .map(([name, supervisor]) => parentWithout(name, supervisor.driver, this.#whyNoHost(name)))
    return [...(await machine.parents()), ...missing]
      .map((parent) => warned(parent, supervisors.get(parent.name)?.warnings ?? []))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
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
    if (this.#options.hosts.find(parent) !== undefined) return undefined
    return `parent ${parent}: ${this.#whyNoHost(parent)}`
  }

  #whyNoHost(parent: string): string {
    const now = this.#options.supervisors.get(parent)?.now
    if (now?.state === 'waiting') return now.why
    if (now?.state !== 'starting') return 'no host runs it'
    return now.before === '' ? 'its host is starting' : `${now.before}; its host is starting again`
  }
}

function warned(parent: ParentView, warnings: readonly string[]): ParentView {
  return warnings.length === 0 ? parent : { ...parent, warnings }
}

/** What is known of a parent whose host is not there. @param waits why it is not */
function parentWithout(name: string, driver: string, waits: string): ParentView {
  return {
    name,
    driver,
    state: 'unregistered',
    types: [],
    attributes: [],
    parentAttributes: [],
    settings: [],
    values: {},
    status: {},
    faults: [],
    mdevs: [],
    waits,
  }
}

/** The same, with the reason why it is not active, if it should be. */
function waiting(mdev: MdevView, whyNot: (mdev: MdevView) => string | undefined): MdevView {
  if (mdev.active !== undefined || mdev.definition?.start !== 'auto') return mdev
  const waits = whyNot(mdev)
  return waits === undefined ? mdev : { ...mdev, waits }
}
