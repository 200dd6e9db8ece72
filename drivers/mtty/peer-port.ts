/** A far end at which programs come and go: a line over what the SDK calls a peer. */
import type { Peer, PeerEvents } from 'mdevkit'
import { PeerLine } from './peer-line.ts'
import type { Port } from './port.ts'

const CHUNK_SIZE = 4096

export class PeerPort extends PeerLine implements Port {
  readonly #peer: Peer
  readonly #chunk = new Uint8Array(CHUNK_SIZE)
  #readable = false

  constructor(open: (events: PeerEvents) => Peer, heedsRts: boolean) {
    super(heedsRts)
    this.#peer = open({
      onReadable: () => {
        this.#readable = true
        this.inputArrived()
      },
      onWritable: () => this.flush(),
      onPresence: (present) => this.setPresent(present),
    })
  }

  get place(): string {
    return this.#peer.path
  }

  close(): void {
    this.flush()
    this.#peer.close()
  }

  protected override nextChunk(): Uint8Array | undefined {
    if (!this.#readable) return undefined
    const count = this.#peer.read(this.#chunk)
    this.#readable = count > 0
    return this.#readable ? this.#chunk.subarray(0, count) : undefined
  }

  protected override transmit(bytes: Uint8Array): number {
    return this.#peer.write(bytes)
  }
}
