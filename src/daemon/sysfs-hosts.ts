/** What the tree shows and does, by way of the machine's hosts. */
import type { ControlClient } from '../host/control-client.ts'
import type { ControlEvent } from '../host/control-protocol.ts'
import { ErrnoError } from '../lib/errno.ts'
import { shareFresh } from '../lib/fresh.ts'
import type { TreeCall } from '../lib/tree.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { MdevSnapshot, ParentNow, ParentSnapshot } from '../mdev/state.ts'
import type { MdevKey, SysfsEvent, SysfsSource, UeventOf } from '../sysfs/source.ts'
import type { WrittenUevent } from '../sysfs/written.ts'
import { userName } from '../os/user-name.ts'
import type { Hosts } from './hosts.ts'
import type { Machine } from './machine.ts'

export class SysfsHosts implements SysfsSource {
  readonly #hosts: Hosts
  readonly #machine: Machine
  /** Who asks each host for what now, by parent, or parent and UUID: a thousand readers are one question. */
  readonly #shows = new Map<string, () => Promise<MdevSnapshot>>()
  readonly #parentShows = new Map<string, () => Promise<ParentNow>>()

  constructor(hosts: Hosts, machine: Machine) {
    this.#hosts = hosts
    this.#machine = machine
  }

  parents(): readonly ParentSnapshot[] {
    return this.#hosts.all.map(({ parent }) => parent)
  }

  subscribe(listener: (event: SysfsEvent) => void): () => void {
    const up = ({ parent }: ControlClient) => listener({ action: 'up', parent })
    const down = (parent: string) => {
      this.#parentShows.delete(parent)
      for (const id of this.#shows.keys()) if (id.startsWith(`${parent}/`)) this.#shows.delete(id)
      listener({ action: 'down', parent })
    }
    const told = ({ action, mdev, ...now }: ControlEvent, host: ControlClient) => {
      if (action === 'remove' && mdev !== undefined) this.#shows.delete(`${host.name}/${mdev.uuid}`)
      listener({
        action: 'now',
        parent: host.name,
        now,
        ...(mdev === undefined ? {} : { mdev }),
        removed: action === 'remove',
      })
    }
    const hosts = this.#hosts.on('up', up).on('down', down).on('event', told)
    return () => hosts.off('up', up).off('down', down).off('event', told)
  }

  async create(key: MdevKey, type: string, { uid }: TreeCall): Promise<void> {
    this.#host(key.parent)
    const user = userName(uid)
    await this.#machine.create(key, type, [], { user, tool: user })
  }

  async remove({ parent, uuid }: MdevKey): Promise<void> {
    await this.#host(parent).remove(uuid, { wait: true })
  }

  async change({ parent, uuid }: MdevKey, attributes: AttributeTexts): Promise<void> {
    await this.#host(parent).changeAttributes(uuid, attributes)
  }

  async changeParent(parent: string, attributes: AttributeTexts): Promise<void> {
    await this.#host(parent).changeParent(attributes)
  }

  uevent(of: UeventOf, uevent: WrittenUevent): void {
    this.#machine.tellUevent(of, uevent)
  }

  async show({ parent, uuid }: MdevKey): Promise<MdevSnapshot> {
    return shared(this.#shows, `${parent}/${uuid}`, async () => this.#host(parent).showMdev(uuid))
  }

  async showParent(parent: string): Promise<ParentNow> {
    return shared(this.#parentShows, parent, async () => this.#host(parent).showParent())
  }

  /** @throws ENODEV */
  #host(parent: string): ControlClient {
    const host = this.#hosts.find(parent)
    if (host === undefined) throw new ErrnoError('ENODEV', `parent ${parent}: its host has gone`)
    return host
  }
}

/** Asks by what is kept for `id`, made now if it is the first question. */
async function shared<T>(
  shows: Map<string, () => Promise<T>>,
  id: string,
  ask: () => Promise<T>,
): Promise<T> {
  const show = shows.get(id) ?? shareFresh(ask)
  shows.set(id, show)
  return show()
}
