/**
 * dma-engine: copies, fills and adds up guest memory, as told by a ring of descriptors in guest memory.
 *
 * Registers in BAR 0, of 32 bits; accesses of other widths read 0 and change nothing.
 *
 * | offset | register | |
 * | --- | --- | --- |
 * | 0x00 | CONTROL | 1 starts the engine with the ring below, HEAD and TAIL being 0; 0 stops it |
 * | 0x04 | STATUS | 0 stopped, 1 running; stopped by itself because of 2 RING, 3 SIZE, 4 TAIL, 5 the ring not being accessible |
 * | 0x08 | RING | where the ring is, low half; a multiple of 32 |
 * | 0x0c | RING_HIGH | high half |
 * | 0x10 | SIZE | descriptors in the ring: a power of two, 2 to 4096 |
 * | 0x14 | HEAD | the descriptor that the engine is at; read only |
 * | 0x18 | TAIL | the first descriptor that is not the engine's; with HEAD there, the ring is empty. Writing it is the doorbell |
 * | 0x1c | INTERRUPT | why MSI-X vector 0 was sent: 1 a descriptor asked for it, 2 something stopped the engine; ones written clear |
 *
 * Descriptors, 32 bytes, little-endian:
 *
 * | offset | field | |
 * | --- | --- | --- |
 * | 0x00 | u16 opcode | 1 copy, 2 fill, 3 checksum |
 * | 0x02 | u16 flags | 1 interrupt when done |
 * | 0x04 | u32 length | bytes: 1 to 1 MiB |
 * | 0x08 | u64 source | of copy and checksum |
 * | 0x10 | u64 destination | of copy and fill |
 * | 0x18 | u32 value | its low byte is what fill writes; checksum leaves the sum of the bytes, modulo 2^32 |
 * | 0x1c | u32 status | 1 done, 2 bad opcode, 3 bad length, 4 memory not accessible; the last thing that is written |
 *
 * One that fails may be done in part, and the engine goes on with the next. Not modelled: copies that overlap (blocks of 64 KiB go
 * from front to back), more than one ring, and how long things take. A stop does not wait for an
 * access that is under way.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { defineDriver, ErrnoError, type Dma, type Logger, type Registers } from 'mdevkit'

const REGISTER = {
  CONTROL: 0x00,
  STATUS: 0x04,
  RING: 0x08,
  RING_HIGH: 0x0c,
  SIZE: 0x10,
  HEAD: 0x14,
  TAIL: 0x18,
  INTERRUPT: 0x1c,
} as const
const STATUS = { STOPPED: 0, RUNNING: 1, BAD_RING: 2, BAD_SIZE: 3, BAD_TAIL: 4, FAULT: 5 } as const
const INTERRUPT = { DONE: 1, STOPPED: 2 } as const
const MAX_RING_SIZE = 4096

const DESCRIPTOR_SIZE = 32
const OPCODE = { COPY: 1, FILL: 2, CHECKSUM: 3 } as const
const FLAG_INTERRUPT = 1
const RESULT = { DONE: 1, BAD_OPCODE: 2, BAD_LENGTH: 3, FAULT: 4 } as const
const MAX_LENGTH = 1024 * 1024
/** Most bytes that are moved before others get their turn. */
const BLOCK_SIZE = 64 * 1024

export const dmaEngine = defineDriver({
  name: 'dma-engine',
  types: { 1: { name: 'DMA engine' } },
  probe(mdev) {
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe16, class: 0x08_80_00 })
    pci.express()
    const [vector] = pci.msix(1)
    const engine = new DmaEngine(mdev.dma, mdev.log, () => vector?.trigger())
    pci.bar(0, { kind: 'mem32', size: 4096 }, engine)
    return { reset: () => engine.reset() }
  },
})

/** The registers, and the run that they have started. */
class DmaEngine implements Registers {
  readonly #dma: Dma
  readonly #log: Logger
  readonly #interrupt: () => void
  /** As they read, but for those that the run knows. */
  readonly #registers = new Uint32Array(8)
  #run: Run | undefined

  constructor(dma: Dma, log: Logger, interrupt: () => void) {
    this.#dma = dma
    this.#log = log
    this.#interrupt = interrupt
  }

  read(offset: number, width: number): number {
    if (width !== 4) return 0
    if (offset === REGISTER.STATUS) return this.#run?.status ?? STATUS.STOPPED
    if (offset === REGISTER.HEAD) return this.#run?.head ?? 0
    return this.#registers[offset / 4] ?? 0
  }

  write(offset: number, value: number, width: number): void {
    if (width !== 4 || offset === REGISTER.STATUS || offset === REGISTER.HEAD) return
    if (offset === REGISTER.INTERRUPT) value = this.read(offset, 4) & ~value
    this.#registers[offset / 4] = value
    if (offset === REGISTER.CONTROL) this.#control((value & 1) !== 0)
    if (offset === REGISTER.TAIL) this.#ring(value)
  }

  reset(): void {
    this.#run?.stop(STATUS.STOPPED)
    this.#run = undefined
    this.#registers.fill(0)
  }

  #control(start: boolean): void {
    this.#run?.stop(STATUS.STOPPED)
    if (!start) return
    this.#registers[REGISTER.TAIL / 4] = 0
    const ring = this.read(REGISTER.RING_HIGH, 4) * 2 ** 32 + this.read(REGISTER.RING, 4)
    this.#run = new Run(this.#dma, ring, this.read(REGISTER.SIZE, 4), (cause) => {
      this.#registers[REGISTER.INTERRUPT / 4]! |= cause
      this.#interrupt()
    })
  }

  #ring(tail: number): void {
    this.#run?.advance(tail).catch((error: unknown) => this.#log.error('dma engine', error))
  }
}

/** The engine from a start to a stop. Once stopped it does nothing more, whatever it was waiting for. */
class Run {
  status: number = STATUS.RUNNING
  head = 0
  readonly #dma: Dma
  readonly #ring: number
  readonly #size: number
  readonly #interrupt: (cause: number) => void
  readonly #block = new Uint8Array(BLOCK_SIZE)
  #tail = 0
  #working = false

  constructor(dma: Dma, ring: number, size: number, interrupt: (cause: number) => void) {
    this.#dma = dma
    this.#ring = ring
    this.#size = size
    this.#interrupt = interrupt
    if (ring % DESCRIPTOR_SIZE !== 0) this.stop(STATUS.BAD_RING)
    if (size < 2 || size > MAX_RING_SIZE || (size & (size - 1)) !== 0) this.stop(STATUS.BAD_SIZE)
  }

  /** @param why what STATUS says from now on */
  stop(why: number): void {
    if (this.status !== STATUS.RUNNING) return
    this.status = why
    if (why !== STATUS.STOPPED) this.#interrupt(INTERRUPT.STOPPED)
  }

  /** Works up to the new tail, unless that is being done already. */
  async advance(tail: number): Promise<void> {
    if (tail >= this.#size) this.stop(STATUS.BAD_TAIL)
    this.#tail = tail
    if (this.#working) return
    this.#working = true
    try {
      while (this.status === STATUS.RUNNING && this.head !== this.#tail) {
        const job = await this.#process(this.#ring + this.head * DESCRIPTOR_SIZE)
        this.#checkRunning()
        this.head = (this.head + 1) % this.#size
        if ((job.flags & FLAG_INTERRUPT) !== 0) this.#interrupt(INTERRUPT.DONE)
        await nextTurn()
      }
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error
      this.stop(STATUS.FAULT)
    } finally {
      this.#working = false
    }
  }

  /** Takes the descriptor at `iova`, does what it says, and writes back what came of it. */
  async #process(iova: number): Promise<Job> {
    const bytes = new Uint8Array(DESCRIPTOR_SIZE)
    await this.#memory.read(iova, bytes) // once: the guest may change it at any time
    const job = readJob(new DataView(bytes.buffer))
    const status = await this.#execute(job)
    await this.#memory.writeU32(iova + 0x18, job.value)
    await this.#memory.writeU32(iova + 0x1c, status) // last: the guest waits for it
    return job
  }

  /** @returns the status for the descriptor */
  async #execute(job: Job): Promise<number> {
    const { opcode, length, source, destination } = job
    if (opcode < OPCODE.COPY || opcode > OPCODE.CHECKSUM) return RESULT.BAD_OPCODE
    if (length < 1 || length > MAX_LENGTH) return RESULT.BAD_LENGTH
    let sum = 0
    try {
      for (let done = 0; done < length; done += BLOCK_SIZE) {
        if (done > 0) await nextTurn()
        const block = this.#block.subarray(0, Math.min(BLOCK_SIZE, length - done))
        if (opcode === OPCODE.FILL) block.fill(job.value)
        else await this.#memory.read(source + done, block)
        if (opcode === OPCODE.CHECKSUM) for (const byte of block) sum += byte
        else await this.#memory.write(destination + done, block)
      }
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error
      return RESULT.FAULT // the guest gave an address that is not its memory
    }
    if (opcode === OPCODE.CHECKSUM) job.value = sum
    return RESULT.DONE
  }

  /** Guest memory. It may have to be asked for, so whenever it is used the engine may have been stopped meanwhile. */
  get #memory(): Dma {
    this.#checkRunning()
    return this.#dma
  }

  #checkRunning(): void {
    if (this.status !== STATUS.RUNNING) throw new ErrnoError('ECANCELED', 'dma engine: stopped')
  }
}

type Job = ReturnType<typeof readJob>

function readJob(descriptor: DataView) {
  return {
    opcode: descriptor.getUint16(0x00, true),
    flags: descriptor.getUint16(0x02, true),
    length: descriptor.getUint32(0x04, true),
    source: Number(descriptor.getBigUint64(0x08, true)),
    destination: Number(descriptor.getBigUint64(0x10, true)),
    value: descriptor.getUint32(0x18, true),
  }
}
