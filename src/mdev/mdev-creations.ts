/** The creation of an mdev, step by step; whatever fails, all of it is undone. */
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { parseUuid } from '../lib/uuid.ts'
import { type AttributeTexts, parseAttributes } from './attribute.ts'
import type { BorneMdevs } from './borne-mdevs.ts'
import type { BusDriver } from './bus-driver.ts'
import type { Claims } from './claims.ts'
import type { Driver } from './driver.ts'
import type { DriverSide } from './driver-side.ts'
import { announce, type Events } from './events.ts'
import { checkGroupText, withGroup } from './group-attribute.ts'
import { MdevDevice } from './mdev.ts'
import type { OfferedTypes } from './offered-types.ts'
import { ParentGroups, type Standing } from './parent-groups.ts'
import { valuesOfMissing } from './type-attributes.ts'

export interface MdevCreationsOptions {
  /** The parent's name. */
  readonly name: string
  readonly driver: Driver
  readonly side: DriverSide
  readonly claims: Claims
  readonly events: Events
  readonly log: Logger
  readonly bus: BusDriver
  readonly clock: Clock
  readonly types: OfferedTypes
  readonly mdevs: BorneMdevs
  /** @throws ENODEV the parent is not registered */
  readonly mustBeRegistered: () => void
  /** Called when an mdev was to be built anew, and could not be. */
  readonly onBroken: (uuid: string) => void
}

export class MdevCreations {
  readonly #options: MdevCreationsOptions
  readonly #groups: ParentGroups

  constructor(options: MdevCreationsOptions) {
    const { name: parent, side, claims, clock, log } = options
    this.#options = options
    this.#groups = new ParentGroups({ parent, hooks: side.groupHooks, claims, clock, log })
  }

  /** @throws as Parent.create */
  async create(wanted: string, uuid: string, texts: AttributeTexts): Promise<MdevDevice> {
    const {
      name: parent,
      driver,
      side,
      claims,
      events,
      log,
      bus,
      clock,
      types,
      mdevs,
    } = this.#options
    const { name: typeName, info: type } = types.find(wanted)
    const name = parseUuid(uuid)
    const attributes = withGroup(driver, type)
    checkGroupText(typeName, attributes, texts)
    parseAttributes(attributes, texts) // refused before anything is claimed
    const undo = new Unwind()
    try {
      const directory = claims.claimUuid(name)
      undo.defer(() => directory.release())
      types.mustHaveRoom(typeName, type)
      const standing: Standing = {
        member: { uuid: name, parent, type: typeName },
        handle: () => mdev.handle,
      }
      const group = this.#groups.own(standing)
      undo.defer(() => group.leave())
      const mdev = new MdevDevice({
        uuid: name,
        typeName,
        type,
        attributes,
        missing: valuesOfMissing(driver, type),
        texts,
        group,
        joinGroup: async (group) =>
          group === '' ? this.#groups.own(standing) : this.#groups.join(group, standing),
        directory: directory.value,
        driver: side,
        log: log.child(name),
        events,
        clock,
        onBroken: () => this.#options.onBroken(name),
      })
      undo.defer(() => mdev.group.leave())
      mdevs.add(mdev, undo)
      undo.defer(() => mdev.finishRemoval())
      await mdev.probe()
      await mdev.joinGroup() // what is in a group has been built
      this.#options.mustBeRegistered() // probe may have taken its time
      const exposure = bus.expose(mdev)
      undo.defer(() => exposure.close())
      mdev.activate()
      announce(events, log, 'bind', mdev)
      return mdev
    } catch (error) {
      try {
        undo[Symbol.dispose]()
      } catch (failure) {
        log.error(`mdev ${name}: undoing its creation`, failure)
      }
      throw error
    }
  }
}
