/** What happens on the machine, from its hosts and its definitions, as one sequence for whoever listens. */
import type { ControlClient } from '../host/control-client.ts'
import type { ControlEvent } from '../host/control-protocol.ts'
import type { EventSource, MachineEvent } from '../http/events.ts'
import type { Logger } from '../lib/log.ts'
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

  #up(host: ControlClient): void {
    const { parent, pid } = host
    this.#hosts.set(parent.name, host)
    const view = { ...parent, pid }
    this.#tell({ action: 'change', parent: parent.name, MDEV_STATE: 'registered', view })
  }

  /** As if it had unregistered its parent: a host that was killed has told nobody of its mdevs' end. */
  #down(parent: string): void {
    const host = this.#hosts.get(parent)
    this.#hosts.delete(parent)
    for (const mdev of host?.parent.mdevs ?? []) {
      this.#tell({ action: 'remove', parent, uuid: mdev.uuid, mdev, types: [] })
    }
    this.#tell({ action: 'change', parent, MDEV_STATE: 'unregistered' })
  }

  #pass({ action, mdev, types }: ControlEvent, host: ControlClient): void {
    // Of parents we tell when they can be managed, and when not any more.
    if (action === 'registered' || action === 'unregistered') return
    if (action === 'changed') {
      const { parent, pid } = host
      this.#tell({ action: 'change', parent: parent.name, view: { ...parent, pid } })
    } else if (mdev !== undefined) {
      this.#tell({ action, parent: host.parent.name, uuid: mdev.uuid, mdev, types })
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
