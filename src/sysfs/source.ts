/** What the tree needs to know of a machine, and what it can ask of it: the daemon has it from its hosts. */
import type { TreeCall } from '../lib/tree.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { MdevSnapshot, ParentNow, ParentSnapshot } from '../mdev/state.ts'
import type { WrittenUevent } from './written.ts'

/**
 * - `up`: a parent has come. - `down`: it has gone, and all its mdevs with it.
 * - `now`: something has happened at it; `mdev` where it is about one, `removed` where that is no more.
 */
export type SysfsEvent =
  | { readonly action: 'up'; readonly parent: ParentSnapshot }
  | { readonly action: 'down'; readonly parent: string }
  | {
      readonly action: 'now'
      readonly parent: string
      readonly now: ParentNow
      readonly mdev?: MdevSnapshot
      readonly removed?: boolean
    }

/** An mdev, by its parent's name and its UUID. */
export interface MdevKey {
  readonly parent: string
  readonly uuid: string
}

/** A parent or, with a `uuid`, one of its mdevs. */
export interface UeventOf {
  readonly parent: string
  readonly uuid?: string
}

export interface SysfsSource {
  /** As they are now; what happens later is told to those who subscribe. */
  parents(): readonly ParentSnapshot[]
  /** @returns ends the subscription */
  subscribe(listener: (event: SysfsEvent) => void): () => void
  /** Makes an mdev, whatever is defined. @throws as Parent.create */
  create(key: MdevKey, type: string, caller: TreeCall): Promise<void>
  /** Removes an mdev; a client that uses it is asked to let go, and waited for. @throws as Parent.remove */
  remove(key: MdevKey, caller: TreeCall): Promise<void>
  /** @throws as MdevDevice.changeAttributes */
  change(key: MdevKey, attributes: AttributeTexts, caller: TreeCall): Promise<void>
  /** @throws as Parent.changeAttributes */
  changeParent(parent: string, attributes: AttributeTexts, caller: TreeCall): Promise<void>
  /** Tells everyone who listens to events what was written to a file `uevent`. */
  uevent(of: UeventOf, uevent: WrittenUevent): void
  /** An mdev with what its driver shows of it now. @throws ENOENT · ETIMEDOUT its host does not answer */
  show(key: MdevKey): Promise<MdevSnapshot>
  /** A parent with what its driver shows of it now. @throws ENODEV it has gone · ETIMEDOUT its host does not answer */
  showParent(parent: string): Promise<ParentNow>
}
