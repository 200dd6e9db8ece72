/** The model as plain data: what a host tells of its parent, and everyone else passes on. */
import type {
  Attribute,
  AttributeChange,
  Attributes,
  AttributeSchema,
  AttributeTexts,
} from './attribute.ts'
import type { Driver, TypeInfo } from './driver.ts'
import { withGroup } from './group-attribute.ts'
import type { MdevDevice } from './mdev.ts'
import type { MdevState } from './mdev-life.ts'
import type { Owner } from './owner.ts'
import type { Parent, ParentState } from './parent.ts'

export interface TypeSnapshot {
  /** `<driver>-<id>`. */
  readonly name: string
  /** For people. */
  readonly prettyName: string
  readonly description?: string
  readonly deviceApi: string
  readonly availableInstances: number
  /** What the driver shows of it besides. */
  readonly status: Readonly<Record<string, string>>
  /** Names that it had in earlier versions of its driver; they can still be started. */
  readonly aliases?: readonly string[]
  /** Settings of its mdevs, where they are not those of all. */
  readonly attributes?: readonly AttributeSnapshot[]
  /** Whether its mdevs can join one group with others. */
  readonly peerToPeer?: boolean
}

/** A setting that a parent, or its mdevs, can have. */
export interface AttributeSnapshot {
  readonly name: string
  readonly description: string
  /** How it reads where nobody has said; without it somebody has to. */
  readonly default?: string
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
  /** How all its settings read. */
  readonly values: Readonly<Record<string, string>>
  /** What the driver shows of it. */
  readonly status: Readonly<Record<string, string>>
  /** Which functions of its driver failed for it when last called, and how: `status: no such file`. */
  readonly faults: readonly string[]
  /** Who has it open: `pid 4711 (qemu-system-x86)`. */
  readonly client?: string
  /** Where clients connect. */
  readonly socket?: string
  /** Who made it, where that was said. */
  readonly owner?: Owner
}

/** What of a parent may change while it is there, besides its mdevs. */
export interface ParentNow {
  readonly state: ParentState
  readonly types: readonly TypeSnapshot[]
  /** Its own settings that were written, in their order. */
  readonly settings: AttributeTexts
  /** How all its own settings read. */
  readonly values: Readonly<Record<string, string>>
  /** What the driver shows of it. */
  readonly status: Readonly<Record<string, string>>
  /** Which functions of its driver failed when last called, and how: `available: no such file`. */
  readonly faults: readonly string[]
}

export interface ParentSnapshot extends ParentNow {
  readonly name: string
  readonly driver: string
  /** Settings that it can have itself. */
  readonly parentAttributes: readonly AttributeSnapshot[]
  /** Settings that its mdevs can have. */
  readonly attributes: readonly AttributeSnapshot[]
  /** In the order of their creation. */
  readonly mdevs: readonly MdevSnapshot[]
}

/** @param socketOf where clients of an mdev connect, if anywhere */
export function snapshotOfParent(
  parent: Parent,
  socketOf: (mdev: MdevDevice) => string | undefined = () => undefined,
): ParentSnapshot {
  const { name, driver } = parent
  return {
    name,
    driver: driver.name,
    ...snapshotOfNow(parent),
    parentAttributes: snapshotOfAttributes(driver.parentAttributes),
    attributes: snapshotOfAttributes(withGroup(driver)),
    mdevs: parent.mdevs.map((mdev) => snapshotOfMdev(mdev, name, socketOf(mdev))),
  }
}

export function snapshotOfNow(parent: Parent): ParentNow {
  return {
    state: parent.state,
    types: snapshotOfTypes(parent),
    settings: parent.texts,
    values: parent.values,
    status: parent.status(),
    faults: parent.faults, // after all that asks the driver something
  }
}

function snapshotOfTypes({ types, driver }: Parent): readonly TypeSnapshot[] {
  return types.map(({ name, info, deviceApi, availableInstances, status }) => ({
    name,
    prettyName: info.name ?? name.slice(driver.name.length + 1),
    ...(info.description === undefined ? {} : { description: info.description }),
    deviceApi,
    availableInstances,
    status,
    ...(info.aliases === undefined ? {} : { aliases: aliasesOf(driver, info) }),
    ...(info.attributes === undefined
      ? {}
      : { attributes: snapshotOfAttributes(withGroup(driver, info)) }),
    ...(info.peerToPeer === true ? { peerToPeer: true } : {}),
  }))
}

function aliasesOf(driver: Driver, { aliases = [] }: TypeInfo): readonly string[] {
  return aliases.map((alias) => `${driver.name}-${alias}`)
}

function snapshotOfAttributes(declared: Attributes = {}): readonly AttributeSnapshot[] {
  return Object.entries(declared).map(([name, attribute]) => snapshotOfAttribute(name, attribute))
}

function snapshotOfAttribute(name: string, attribute: Attribute<unknown>): AttributeSnapshot {
  const { description, default: value, change, accepts, schema } = attribute
  const common = { name, description, change, accepts, schema }
  return value === undefined ? common : { ...common, default: attribute.show(value) }
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
    values: mdev.values,
    status: mdev.status(),
    faults: mdev.faults, // after what asks the driver something
    ...(mdev.user === undefined ? {} : { client: mdev.user.description }),
    ...(socket === undefined ? {} : { socket }),
  }
}
