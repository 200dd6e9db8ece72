/** Changes of an mdev's settings, one at a time. */
import type { Clock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import { inTime } from '../lib/within.ts'
import type { AttributeTexts } from './attribute.ts'
import type { CurrentDevice } from './current-device.ts'
import type { Group, GroupUser } from './group.ts'
import type { MdevLife } from './mdev-life.ts'
import { areAboutGroup, type MdevSettings, type Values } from './mdev-settings.ts'
import type { Membership } from './membership.ts'

/** How long a driver may take to build a device, and to change settings of one in use. */
export const PROBE_MS = 30_000
const CHANGE_MS = 10_000

export interface MdevChangesOptions {
  readonly uuid: string
  readonly life: MdevLife
  readonly settings: MdevSettings
  readonly membership: Membership
  readonly current: CurrentDevice
  readonly clock: Clock
  /** Who has the mdev open. */
  readonly user: () => GroupUser | undefined
  /** Called when settings have changed. */
  readonly onChange: () => void
}

export class MdevChanges {
  readonly #options: MdevChangesOptions
  #changing = false

  constructor(options: MdevChangesOptions) {
    this.#options = options
  }

  /** @throws as MdevDevice.changeAttributes */
  async change(texts: AttributeTexts): Promise<void> {
    const { uuid, life, settings, clock } = this.#options
    life.mustBeActive()
    const next = settings.after(texts)
    if (this.#changing) throw new ErrnoError('EBUSY', `mdev ${uuid}: attributes are changing`)
    const name = settings.needingRebuild(next)
    const user = this.#options.user()
    if (name !== undefined && user !== undefined) {
      const why = `in use by ${user.description}`
      throw new ErrnoError('EBUSY', `mdev ${uuid}: ${why}; ${name} can change without a client`)
    }
    this.#changing = true
    const change = this.#change(texts, next, name !== undefined)
    const ms = name === undefined ? CHANGE_MS : PROBE_MS
    await inTime(change, `mdev ${uuid}: change of its attributes`, ms, clock)
  }

  async #change(texts: AttributeTexts, next: Values, anew: boolean): Promise<void> {
    const { life, settings, membership, current, onChange } = this.#options
    let group: Group | undefined
    try {
      const joining = membership.join(settings.groupOf(next))
      if (joining !== undefined) {
        group = await joining
        life.mustBeActive()
      }
      if (anew && membership.group.uuid !== undefined) {
        await membership.hold() // its driver has shown it to a use that may be under way
        life.mustBeActive()
      }
      if (anew) await current.rebuild(next)
      else if (group === undefined || !areAboutGroup(texts))
        await current.built.changeAttributes(next)
      life.mustBeActive() // it may have been removed meanwhile
      settings.write(texts, next)
      if (group !== undefined) group = membership.replace(group)
    } finally {
      this.#changing = false
      membership.settle(group) // the one it has left, or, where the change failed, the one it was to join
    }
    onChange()
  }
}
