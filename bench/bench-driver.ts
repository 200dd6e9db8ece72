/** The smallest devices there are: what is measured is not the device. */
import { defineDriver, type IrqVector, type Mdev, type Registers } from '../src/index.ts'

const REGISTERS_SIZE = 4096
const MEMORY_SIZE = 1024 * 1024
/** Of `bell`, in BAR 0. */
const DOORBELL = 0x800
/** Where `bell` finds memory of its client for the time at which it was rung, ns, a double. */
const STAMP_IOVA = 0x10000

export const benchDriver = defineDriver({
  name: 'bench',
  types: {
    registers: { name: 'Register file', has: 'registers' },
    memory: { name: 'Memory', has: 'memory' },
    bell: { name: 'Register file with a doorbell that triggers an interrupt', has: 'doorbell' },
  },
  probe(mdev) {
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    if (mdev.type.has === 'memory') {
      const memory = mdev.sharedMemory(MEMORY_SIZE)
      pci.bar(0, { kind: 'mem32', size: MEMORY_SIZE, memory })
      return { reset: () => memory.bytes.fill(0) }
    }
    const registers = new RegisterFile(REGISTERS_SIZE)
    pci.bar(0, { kind: 'mem32', size: REGISTERS_SIZE }, registers)
    if (mdev.type.has === 'doorbell') {
      const bell = new Bell(mdev, pci.msi(1)[0]!)
      pci.doorbell(0, { offset: DOORBELL }, () => bell.ring())
    }
    return { reset: () => registers.reset() }
  },
})

/** Words that read back as written. Only whole ones. */
class RegisterFile implements Registers {
  readonly #words: Uint32Array

  /** @param size bytes */
  constructor(size: number) {
    this.#words = new Uint32Array(size / 4)
  }

  read(offset: number): number {
    return this.#words[offset >> 2] ?? 0
  }

  write(offset: number, value: number): void {
    this.#words[offset >> 2] = value
  }

  reset(): void {
    this.#words.fill(0)
  }
}

/** Answers each ring by an interrupt, and tells the client when it was rung. */
class Bell {
  readonly #mdev: Mdev
  readonly #vector: IrqVector
  readonly #originNs = monotonicOrigin()
  readonly #stamp = new Float64Array(1)
  readonly #bytes = new Uint8Array(this.#stamp.buffer)

  constructor(mdev: Mdev, vector: IrqVector) {
    this.#mdev = mdev
    this.#vector = vector
  }

  ring(): void {
    this.#stamp[0] = this.#originNs + performance.now() * 1e6
    void this.#mdev.dma.write(STAMP_IOVA, this.#bytes) // mapped, so done when it returns
    this.#vector.trigger()
  }
}

/** What CLOCK_MONOTONIC said when performance.now() was 0, ns. */
function monotonicOrigin(): number {
  let origin = 0
  // too early by what passes between the two looks: the latest of many is the truest
  for (let i = 0; i < 1000; i++) {
    origin = Math.max(origin, Number(process.hrtime.bigint()) - performance.now() * 1e6)
  }
  return origin
}
