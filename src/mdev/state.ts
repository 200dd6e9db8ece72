/** The model as plain data: what a host tells of its parent, and everyone else passes on. */
import type { AttributeChange, AttributeSchema, AttributeTexts } from './attribute.ts'
import type { MdevDevice, MdevState } from './mdev.ts'
import type { Parent, ParentState } from './parent.ts'

export interface TypeSnapshot {
  /** `<driver>-<id>`. */
  readonly name: string
  /** For people. */
  readonly prettyName: string
  readonly description?: string
  readonly deviceApi: string
  readonly availableInstances: number
}

/** A setting that mdevs of a parent can have. */
export interface AttributeSnapshot {
  readonly name: string
  readonly description: string
  readonly default: unknown
  readonly change: AttributeChange
  readonly accepts: string
  readonly schema: AttributeSchema
}

export interface MdevSnapshot {
  readonly uuid: string
  readonly parent: string
  readonly type: string
  readonly state: MdevState
  /** Number of its group. */
  readonly group: number
  /** Settings that were written, in their order. */
  readonly attributes: AttributeTexts
  /** What the driver shows of it. */
  readonly status: Readonly<Record<string, string>>
  /** Who has it open: `pid 4711 (qemu-system-x86)`. */
  readonly client?: string
  /** Where clients connect. */
  readonly socket?: string
}

export interface ParentSnapshot {
  readonly name: string
  readonly driver: string
  readonly state: ParentState
  readonly types: readonly TypeSnapshot[]
  readonly attributes: readonly AttributeSnapshot[]
  /** In the order of their creation. */
  readonly mdevs: readonly MdevSnapshot[]
}

/** @param socketOf where clients of an mdev connect, if anywhere */
export function snapshotOfParent(
  parent: Parent,
  socketOf: (mdev: MdevDevice) => string | undefined = () => undefined,
): ParentSnapshot {
  const { name, driver, state } = parent
  return {
    name,
    driver: driver.name,
    state,
    types: snapshotOfTypes(parent),
    attributes: Object.entries(driver.attributes ?? {}).map(([attribute, declared]) => {
      const { description, default: fallback, change, accepts, schema } = declared
      return { name: attribute, description, default: fallback, change, accepts, schema }
    }),
    mdevs: parent.mdevs.map((mdev) => snapshotOfMdev(mdev, name, socketOf(mdev))),
  }
}

export function snapshotOfTypes({ types, driver }: Parent): readonly TypeSnapshot[] {
  return types.map(({ name, info, deviceApi, availableInstances }) => ({
    name,
    prettyName: info.name ?? name.slice(driver.name.length + 1),
    ...(info.description === undefined ? {} : { description: info.description }),
    deviceApi,
    availableInstances,
  }))
}

/** @param parent its parent's name */
export function snapshotOfMdev(
  mdev: MdevDevice,
  parent: string,
  socket: string | undefined,
): MdevSnapshot {
  return {
    uuid: mdev.uuid,
    parent,
    type: mdev.typeName,
    state: mdev.state,
    group: mdev.group.number,
    attributes: mdev.texts,
    status: mdev.status(),
    ...(mdev.user === undefined ? {} : { client: mdev.user.description }),
    ...(socket === undefined ? {} : { socket }),
  }
}
