/**
 * checksum: adds up bytes of guest memory.
 *
 * | offset | register | |
 * | --- | --- | --- |
 * | 0x00 | ADDRESS | where the bytes are, low half |
 * | 0x04 | ADDRESS_HIGH | high half |
 * | 0x08 | LENGTH | how many; writing it starts the device |
 * | 0x0c | SUM | of the bytes, modulo 2^32 |
 * | 0x10 | STATUS | 0 idle or at work, 1 done, 2 the memory could not be read |
 *
 * When it is done it sends MSI-X vector 0.
 */
import { defineDriver, ErrnoError, type Dma, type IrqVector, type Registers } from 'mdevkit'

const ADDRESS = 0x00
const ADDRESS_HIGH = 0x04
const LENGTH = 0x08
const SUM = 0x0c
const STATUS = 0x10
const STATUS_DONE = 1
const STATUS_FAILED = 2
const MAX_LENGTH = 1024 * 1024

export const checksum = defineDriver({
  name: 'checksum',
  types: { 1: { name: 'Checksum engine' } },
  probe(mdev) {
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe12, class: 0x12_00_00 })
    pci.express()
    const [done] = pci.msix(1)
    const engine = new ChecksumEngine(mdev.dma, done)
    pci.bar(0, { kind: 'mem32', size: 4096 }, engine)
    return { reset: () => engine.reset() }
  },
})

class ChecksumEngine implements Registers {
  readonly #dma: Dma
  readonly #done: IrqVector | undefined
  readonly #registers = new Uint32Array(5)
  #current: symbol | undefined

  constructor(dma: Dma, done: IrqVector | undefined) {
    this.#dma = dma
    this.#done = done
  }

  read(offset: number): number {
    return this.#registers[offset / 4] ?? 0
  }

  write(offset: number, value: number): void {
    if (offset > LENGTH) return // SUM and STATUS are read only
    this.#registers[offset / 4] = value
    if (offset === LENGTH) void this.#run(value)
  }

  reset(): void {
    this.#current = undefined
    this.#registers.fill(0)
  }

  /** Guest memory may have to be asked for, so the device can be reset, or started anew, before this ends. */
  async #run(length: number): Promise<void> {
    const run = (this.#current = Symbol('run'))
    this.#registers[STATUS / 4] = 0
    const bytes = new Uint8Array(Math.min(length, MAX_LENGTH))
    const status = await this.#fetch(bytes)
    if (run !== this.#current) return
    this.#registers[SUM / 4] = bytes.reduce((sum, byte) => sum + byte, 0)
    this.#registers[STATUS / 4] = status
    this.#done?.trigger()
  }

  async #fetch(bytes: Uint8Array): Promise<number> {
    try {
      await this.#dma.read(this.read(ADDRESS_HIGH) * 2 ** 32 + this.read(ADDRESS), bytes)
      return STATUS_DONE
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error
      return STATUS_FAILED // the guest gave an address that is not its memory
    }
  }
}
