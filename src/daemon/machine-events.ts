/** What happens on the machine, from its hosts and its definitions, as one sequence for whoever listens. */
import type { ControlClient } from '../host/control-client.ts'
import type { ControlEvent } from '../host/control-protocol.ts'
import type { EventSource, MachineEvent, UeventKeys } from '../http/events.ts'
import type { Logger } from '../lib/log.ts'
import type { MdevSnapshot, ParentSnapshot } from '../mdev/state.ts'
import { parentPath } from '../sysfs/paths.ts'
import type { UeventOf } from '../sysfs/source.ts'
import type { WrittenUevent } from '../sysfs/written.ts'
import type { DefinitionWatcher } from './definition-watcher.ts'
import type { Hosts } from './hosts.ts'

export interface MachineEventsOptions {
  readonly hosts: Hosts
  readonly definitions: DefinitionWatcher
  readonly log: Logger
}

export class MachineEvents implements EventSource {
  readonly #log: Logger
  readonly #listeners = new Set<(event: MachineEvent) => void>()
  /** Kept beyond their connection: what a host bore is gone with it. */
  readonly #hosts = new Map<string, ControlClient>()
  #sequence = 0

  constructor({ hosts, definitions, log }: MachineEventsOptions) {
    this.#log = log
    for (const host of hosts.all) this.#hosts.set(host.parent.name, host)
    hosts.on('up', (host) => this.#up(host))
    hosts.on('down', (parent) => this.#down(parent))
    hosts.on('event', (event, host) => this.#pass(event, host))
    definitions.on('defined', (mdev) => this.#tell({ action: 'define', ...mdev }))
    definitions.on('undefined', (key) => this.#tell({ action: 'undefine', ...key }))
  }

  subscribe(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Tells what somebody has asked for. */
  noteUevent({ parent: name, uuid }: UeventOf, uevent: WrittenUevent): void {
    const host = this.#hosts.get(name)
    if (host === undefined) return // it has gone meanwhile
    const { parent, pid } = host
    if (uuid === undefined) {
      const view = { ...parent, pid }
      this.#tell({ ...uevent, parent: name, view, ...this.#keys(parent) })
      return
    }
    const mdev = parent.mdevs.find((each) => each.uuid === uuid)
    if (mdev === undefined) return
    const keys = this.#keys(parent, mdev, mdev.state === 'active')
    this.#tell({ ...uevent, parent: name, uuid, mdev, types: parent.types, ...keys })
  }

  #up(host: ControlClient): void {
    const { parent, pid } = host
    this.#hosts.set(parent.name, host)
    const view = { ...parent, pid }
    const keys = this.#keys(parent)
    this.#tell({ action: 'change', parent: parent.name, MDEV_STATE: 'registered', view, ...keys })
  }

  /** As if it had unregistered its parent: a host that was killed has told nobody of its mdevs' end. */
  #down(parent: string): void {
    const host = this.#hosts.get(parent)
    this.#hosts.delete(parent)
    if (host === undefined) return
    for (const mdev of host.parent.mdevs) {
      const keys = this.#keys(host.parent, mdev)
      this.#tell({ action: 'remove', parent, uuid: mdev.uuid, mdev, types: [], ...keys })
    }
    const keys = this.#keys(host.parent)
    this.#tell({ action: 'change', parent, MDEV_STATE: 'unregistered', ...keys })
  }

  #pass({ action, mdev, types }: ControlEvent, host: ControlClient): void {
    // Of parents we tell when they can be managed, and when not any more.
    if (action === 'registered' || action === 'unregistered') return
    if (action === 'changed' || action === 'unregistering') {
      const { parent, pid } = host
      const told = { parent: parent.name, view: { ...parent, pid } }
      if (action === 'unregistering') this.#tell({ action, ...told })
      else this.#tell({ action: 'change', ...told, ...this.#keys(parent) })
    } else if (mdev !== undefined) {
      const isKernels = action !== 'removing' && action !== 'attach' && action !== 'detach'
      const isBuilt = action === 'bind' || action === 'change'
      const keys = isKernels ? this.#keys(host.parent, mdev, isBuilt) : {}
      this.#tell({ action, parent: host.parent.name, uuid: mdev.uuid, mdev, types, ...keys })
    }
  }

  /** What a uevent has besides its action, of a parent or its mdev. Each is counted. */
  #keys({ driver, name }: ParentSnapshot, mdev?: MdevSnapshot, isBuilt = false): UeventKeys {
    const path = parentPath(driver, name)
    return {
      DEVPATH: mdev === undefined ? path : `${path}/${mdev.uuid}`,
      SUBSYSTEM: mdev === undefined ? driver : 'mdev',
      ...(isBuilt ? { DRIVER: driver } : {}),
      SEQNUM: ++this.#sequence,
    }
  }

  /** One that throws is logged and stops nothing. */
  #tell(event: MachineEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch (error) {
        this.#log.error(`listener for ${event.action}`, error)
      }
    }
  }
}
