/** The control plane with mdevctl's scripts around what it does, whoever asks for it. */
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
} from '../mdev/control-plane.ts'
import type { Definition } from '../mdev/definition.ts'
import type { Owner } from '../mdev/owner.ts'
import type { MdevSnapshot } from '../mdev/state.ts'
import type { Callouts } from './callouts.ts'
import type { Machine } from './machine.ts'

export class CalloutPlane implements ControlPlane {
  readonly #machine: Machine
  readonly #callouts: Callouts
  readonly parents: ControlPlane['parents']
  readonly list: ControlPlane['list']
  readonly find: ControlPlane['find']
  readonly unregister: ControlPlane['unregister']
  readonly register: ControlPlane['register']

  constructor(machine: Machine, callouts: Callouts) {
    this.#machine = machine
    this.#callouts = callouts
    this.parents = machine.parents.bind(machine)
    this.list = machine.list.bind(machine)
    this.find = machine.find.bind(machine)
    this.unregister = machine.unregister.bind(machine)
    this.register = machine.register.bind(machine)
  }

  /** @throws also ECANCELED a script does not want it */
  async define(
    key: DefinitionKey,
    definition: Definition,
    options: DefineOptions = {},
  ): Promise<DefinedMdev> {
    const machine = this.#machine
    const { replace = false, takeOver = false } = options
    machine.checkKey(key)
    const views = await machine.find(key.uuid)
    const before = views.find(({ parent }) => parent === key.parent)?.definition
    const define = async () => machine.define(key, definition, options)
    if (before !== undefined && !replace) return define() // which refuses it
    const action = before === undefined ? 'define' : 'modify'
    return this.#callouts.around(action, { ...key, definition }, takeOver, define)
  }

  /** @throws also ECANCELED a script does not want it; what others are defined is undefined all the same */
  async undefine(uuid: string, parent?: string, options: TakeOptions = {}): Promise<void> {
    const machine = this.#machine
    const { takeOver = false } = options
    const failures: unknown[] = []
    for (const mdev of machine.definitionsOf(uuid, parent)) {
      const undefine = async () => machine.undefine(mdev.uuid, mdev.parent)
      await this.#callouts
        .around('undefine', mdev, takeOver, undefine)
        .catch((error: unknown) => failures.push(error))
    }
    if (failures.length > 0) throw failures[0]
  }

  /** @throws also ECANCELED a script does not want it */
  async start(request: StartRequest, owner?: Owner): Promise<MdevSnapshot> {
    const machine = this.#machine
    const { uuid, parent, type, start, attributes } = machine.wanted(request)
    const device = { uuid, parent, definition: { type, start, attributes } }
    return this.#callouts.around('start', device, false, async () =>
      machine.start({ uuid, parent, type, attributes }, owner),
    )
  }

  /** @throws also ECANCELED a script does not want it */
  async stop(uuid: string, options: StopOptions = {}): Promise<void> {
    const machine = this.#machine
    const active = await this.#active(uuid)
    if (active === undefined) return machine.stop(uuid, options) // which refuses it
    const definition = { type: active.type, start: 'manual', attributes: [] } as const
    const device = { uuid: active.uuid, parent: active.parent, definition }
    return this.#callouts.around('stop', device, options.takeOver === true, async () =>
      machine.stop(uuid, options),
    )
  }

  /** @throws also ECANCELED a script does not want it */
  async change(uuid: string, attributes: AttributeTexts): Promise<MdevSnapshot> {
    const active = await this.#active(uuid)
    if (active !== undefined) {
      const { type, parent, attributes: before } = active
      const after = [...new Map([...before, ...attributes])]
      const definition = { type, start: 'manual', attributes: after } as const
      await this.#callouts.live({ uuid: active.uuid, parent, definition })
    }
    return this.#machine.change(uuid, attributes)
  }

  async changeParent(parent: string, attributes: AttributeTexts): Promise<ParentView> {
    return this.#machine.changeParent(parent, attributes)
  }

  async #active(uuid: string): Promise<MdevSnapshot | undefined> {
    return (await this.#machine.find(uuid)).find(({ active }) => active !== undefined)?.active
  }
}
