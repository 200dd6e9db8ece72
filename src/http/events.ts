/** What happens on a machine, as its API tells it. */
import type {
  DefinedMdev,
  DefinitionFault,
  DefinitionKey,
  MdevView,
  ParentView,
} from '../mdev/control-plane.ts'
import type { MdevSnapshot, TypeSnapshot } from '../mdev/state.ts'

/**
 * One thing that has happened.
 *
 * - Of a parent, `change`, with MDEV_STATE as in the kernel: it has come, or its host has gone and all its mdevs before it.
 *   Without it, settings of its own have changed. `unregistering` where it is going, once its clients have let go.
 * - Of an mdev, `add`, `bind`, `unbind`, `remove` and, of its settings, `change`, as in the kernel; `attach` and `detach` of
 *   its client; `removing` where its removal has begun, and waits for its client.
 * - Of a definition, `define` (a changed one too) and `undefine`, whoever did it.
 * - Whatever was written to a file `uevent` of the tree; with SYNTH_UUID, as nothing has happened.
 */
export type MachineEvent = ParentEvent | MdevEvent | DefineEvent | UndefineEvent

/** What the kernel's uevent has besides its ACTION; not there where the kernel has no such event. */
export interface UeventKeys {
  /** In the tree, without its root: `/devices/virtual/<driver>/<parent>`, of an mdev with its UUID. */
  readonly DEVPATH?: string
  /** Of an mdev `mdev`; of a parent its class, which has its driver's name. */
  readonly SUBSYSTEM?: string
  /** Of an mdev that has been built. */
  readonly DRIVER?: string
  /** Events with these keys are counted, from 1, since the daemon started. */
  readonly SEQNUM?: number
  /** It was asked for: by this UUID, or 0. */
  readonly SYNTH_UUID?: string
  /** What was asked for with it. */
  readonly [variable: `SYNTH_ARG_${string}`]: string
}

/** The kernel's; `move`, `online` and `offline` only where they were asked for. */
type UeventAction = 'add' | 'remove' | 'change' | 'move' | 'online' | 'offline' | 'bind' | 'unbind'

export interface ParentEvent extends UeventKeys {
  readonly action: UeventAction | 'unregistering'
  readonly parent: string
  readonly MDEV_STATE?: 'registered' | 'unregistered'
  /** As it is now, unless it has gone. */
  readonly view?: ParentView
}

export interface MdevEvent extends DefinitionKey, UeventKeys {
  readonly action: UeventAction | 'removing' | 'attach' | 'detach'
  /** As it is now; as it was, where it has been removed. */
  readonly mdev: MdevSnapshot
  /** Its parent's, with what is available of them now. */
  readonly types: readonly TypeSnapshot[]
}

export interface DefineEvent extends DefinedMdev {
  readonly action: 'define'
}

export interface UndefineEvent extends DefinitionKey {
  readonly action: 'undefine'
}

/** Everything there is, and the first event of each stream: what happens later adds to it. */
export interface SnapshotEvent {
  readonly action: 'snapshot'
  readonly parents: readonly ParentView[]
  readonly mdevs: readonly MdevView[]
  readonly faults: readonly DefinitionFault[]
}

/** Where events come from. */
export interface EventSource {
  /** Tells `listener` everything from now on. @returns what ends that */
  subscribe(listener: (event: MachineEvent) => void): () => void
}
