/** What happens to parents and mdevs, told to whoever listens, with the kernel's uevent actions where it has one. */
import { EventEmitter } from 'node:events'
import type { Logger } from '../lib/log.ts'
import type { MdevDevice } from './mdev.ts'
import type { Parent } from './parent.ts'

/**
 * - `registered`, `unregistered`: a parent came or went (the kernel's `change` with MDEV_STATE).
 * - `unregistering`: a parent is going, and no mdev can be created on it any more.
 * - `changed`: settings of a parent have changed.
 * - `add`, `bind`, `unbind`, `remove`: the life of an mdev. A creation that fails in `probe` is an `add` and a `remove`.
 * - `removing`: the removal of an mdev has begun, and waits for its client. Nobody else can open it any more.
 * - `change`: settings of an mdev have changed.
 * - `attach`, `detach`: a client opened or closed an mdev.
 */
export interface MdevEvents {
  registered: [parent: Parent]
  unregistering: [parent: Parent]
  unregistered: [parent: Parent]
  changed: [parent: Parent]
  add: [mdev: MdevDevice]
  bind: [mdev: MdevDevice]
  removing: [mdev: MdevDevice]
  unbind: [mdev: MdevDevice]
  remove: [mdev: MdevDevice]
  change: [mdev: MdevDevice]
  attach: [mdev: MdevDevice]
  detach: [mdev: MdevDevice]
}

export type Events = EventEmitter<MdevEvents>

export function createEvents(): Events {
  return new EventEmitter<MdevEvents>()
}

/** Tells listeners. One that throws is logged and stops nothing: what it was told of has happened already. */
export function announce<K extends keyof MdevEvents>(
  events: Events,
  log: Logger,
  event: K,
  ...subject: MdevEvents[K]
): void {
  for (const listener of events.rawListeners(event)) {
    try {
      Reflect.apply(listener, events, subject)
    } catch (error) {
      log.error(`listener for ${event}`, error)
    }
  }
}
