/** The serial card of the demo: the parent `mtty`, and one mdev of type `mtty-2` under it. */
import { loadDriver } from '../src/host/driver-loader.ts'
import { Host } from '../src/host/host.ts'
import type { Logger } from '../src/lib/log.ts'
import { freshUuid } from '../src/lib/uuid.ts'
import type { MdevDevice } from '../src/mdev/mdev.ts'

const TYPE = 'mtty-2'
/** What the driver's status calls the place of a port. */
const PORT = /^port\d+$/

/** What clients have done to the card so far. */
export interface CardCounts {
  readonly reads: number
  readonly writes: number
  readonly interrupts: number
  readonly dmaMaps: number
  readonly dmaUnmaps: number
  /** Of an access, as the server saw it, ns; 0 when there was none. */
  readonly medianNs: number
}

export class Card implements Disposable {
  readonly #host: Host
  readonly #mdev: MdevDevice

  private constructor(host: Host, mdev: MdevDevice) {
    this.#host = host
    this.#mdev = mdev
  }

  /** @param root the run-time root; sockets are made below it */
  static async create(root: string, log: Logger): Promise<Card> {
    const host = new Host({ driver: await loadDriver('mtty'), log, root, measure: true })
    try {
      return new Card(host, await host.create(TYPE, freshUuid()))
    } catch (error) {
      host.close()
      throw error
    }
  }

  /** Where a client connects. */
  get socket(): string {
    return this.#host.socketOf(this.#mdev)
  }

  /** The terminals of the ports. */
  get ports(): readonly string[] {
    return Object.entries(this.#mdev.status())
      .filter(([name]) => PORT.test(name))
      .map(([, place]) => place)
  }

  get counts(): CardCounts {
    const { server, times } = this.#host.statsOf(this.#mdev)
    return {
      reads: server?.regionReads ?? 0,
      writes: server?.regionWrites ?? 0,
      interrupts: this.#mdev.device.irqs.reduce((sum, { sent }) => sum + sent, 0),
      dmaMaps: server?.dmaMaps ?? 0,
      dmaUnmaps: server?.dmaUnmaps ?? 0,
      medianNs: times?.quantile(0.5) ?? 0,
    }
  }

  /** What exists, as a tree. */
  get tree(): string {
    const { parent } = this.#host
    const types = parent.types.map(({ name, info, availableInstances }) => ({
      text: `${name}  ${info.name ?? ''}, available_instances ${availableInstances}`,
      children: parent.mdevs
        .filter((mdev) => mdev.typeName === name)
        .map((mdev) => ({
          text: mdev.uuid,
          children: [
            { text: `group   ${mdev.group.number}` },
            { text: `socket  ${this.#host.socketOf(mdev)}` },
            ...Object.entries(mdev.status()).map(([key, value]) => ({
              text: `${key.padEnd(6)}  ${value}`,
            })),
          ],
        })),
    }))
    return [`parent ${parent.name}`, ...branches(types)].join('\n')
  }

  [Symbol.dispose](): void {
    this.#host.close()
  }
}

interface Branch {
  readonly text: string
  readonly children?: readonly Branch[]
}

function branches(nodes: readonly Branch[]): string[] {
  return nodes.flatMap(({ text, children = [] }, index) => {
    const last = index === nodes.length - 1
    const below = branches(children).map((line) => `${last ? '   ' : '│  '}${line}`)
    return [`${last ? '└─ ' : '├─ '}${text}`, ...below]
  })
}
