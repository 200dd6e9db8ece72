/** The register map (3.1): what guests read and write in BAR 0, and how a controller becomes ready, fails and shuts down. */
import type { Logger, Registers, Width } from 'mdevkit'
import { type Controller, MAX_QUEUE_ENTRIES } from './controller.ts'
import type { Interrupts } from './interrupts.ts'
import {
  AQA,
  CAP,
  CAP_HIGH,
  CC,
  CQES,
  CSTS,
  MIN_PAGE_SHIFT,
  REGISTER,
  SQES,
  VERSION_1_4,
} from './spec.ts'

const TWO_32 = 2 ** 32
/** Half seconds: a disk that hangs holds up its guest so long. */
const READY_TIMEOUT = 60
/** Pages of 64 KiB. */
const MAX_PAGE_SHIFT = 16
/** What of CC may be written while the controller is enabled. */
const CC_WHILE_ENABLED = CC.EN | CC.SHN | CC.IOSQES | CC.IOCQES
const CC_BITS = CC_WHILE_ENABLED | CC.CSS | CC.MPS | CC.AMS

export class ControllerRegisters implements Registers {
  readonly #controller: Controller
  readonly #interrupts: Interrupts
  readonly #log: Logger
  #cc = 0
  #ready = false
  /** What was written cannot be enabled. */
  #refused = false
  #shutdown = 0
  /** The latest shutdown. */
  #shuttingDown: Promise<void> | undefined
  #aqa = 0
  /** Halves, the low one first. */
  readonly #asq = new Uint32Array(2)
  readonly #acq = new Uint32Array(2)

  constructor(controller: Controller, interrupts: Interrupts, log: Logger) {
    this.#controller = controller
    this.#interrupts = interrupts
    this.#log = log
  }

  read(offset: number, width: Width): number {
    // accesses are to be of 32 or 64 bits; parts of a register are read as they lie
    const value = this.#read(offset & ~3) / 2 ** (8 * (offset & 3))
    return width === 4 ? value : Math.floor(value) % 2 ** (8 * width)
  }

  write(offset: number, value: number, width: Width): void {
    if (width !== 4) return
    switch (offset) {
      case REGISTER.INTMS:
        this.#interrupts.mask |= value
        break
      case REGISTER.INTMC:
        this.#interrupts.mask &= ~value
        break
      case REGISTER.CC:
        this.#configure(value)
        break
      case REGISTER.AQA:
        this.#aqa = value & (AQA.SIZE | (AQA.SIZE << AQA.ACQS_SHIFT))
        break
      case REGISTER.ASQ:
        this.#asq[0] = value & ~0xfff
        break
      case REGISTER.ASQ + 4:
        this.#asq[1] = value
        break
      case REGISTER.ACQ:
        this.#acq[0] = value & ~0xfff
        break
      case REGISTER.ACQ + 4:
        this.#acq[1] = value
        break
      default:
        if (offset >= REGISTER.DOORBELLS)
          this.#controller.ring((offset - REGISTER.DOORBELLS) / 4, value)
    }
  }

  /** Back to the power-on state. */
  reset(): void {
    this.#controller.disable()
    this.#cc = 0
    this.#ready = false
    this.#refused = false
    this.#shutdown = 0
    this.#aqa = 0
    this.#asq.fill(0)
    this.#acq.fill(0)
  }

  #read(offset: number): number {
    switch (offset) {
      case REGISTER.CAP:
        return (MAX_QUEUE_ENTRIES - 1) | CAP.CQR | (READY_TIMEOUT << CAP.TO_SHIFT)
      case REGISTER.CAP + 4:
        return CAP_HIGH.CSS_NVM | ((MAX_PAGE_SHIFT - MIN_PAGE_SHIFT) << CAP_HIGH.MPSMAX_SHIFT)
      case REGISTER.VS:
        return VERSION_1_4
      case REGISTER.INTMS:
      case REGISTER.INTMC:
        return this.#interrupts.mask >>> 0
      case REGISTER.CC:
        return this.#cc
      case REGISTER.CSTS:
        return this.#status
      case REGISTER.AQA:
        return this.#aqa
      case REGISTER.ASQ:
      case REGISTER.ASQ + 4:
        return this.#asq[(offset - REGISTER.ASQ) / 4]!
      case REGISTER.ACQ:
      case REGISTER.ACQ + 4:
        return this.#acq[(offset - REGISTER.ACQ) / 4]!
      default:
        return 0
    }
  }

  get #status(): number {
    const failed = this.#refused || this.#controller.failed
    return (this.#ready ? CSTS.RDY : 0) | (failed ? CSTS.CFS : 0) | this.#shutdown
  }

  #configure(value: number): void {
    const wasEnabled = (this.#cc & CC.EN) !== 0
    const wasShutDown = (this.#cc & CC.SHN) !== 0
    const allowed = wasEnabled ? CC_WHILE_ENABLED : CC_BITS
    this.#cc = ((this.#cc & ~allowed) | (value & allowed)) >>> 0
    const isEnabled = (this.#cc & CC.EN) !== 0
    if (isEnabled && !wasEnabled) this.#enable()
    if (!isEnabled && wasEnabled) this.#disable()
    if ((this.#cc & CC.SHN) !== 0 && !wasShutDown) this.#shutDown()
  }

  /** Makes it ready, unless the disk is busy with what came before: then it becomes ready by itself. */
  #enable(): void {
    this.#refused = false
    this.#shutdown = 0
    const { quiet } = this.#controller
    if (quiet !== undefined) {
      this.#whenQuiet(quiet)
      return
    }
    const wrong = this.#whatIsWrong()
    if (wrong !== undefined) {
      this.#log.warn(`nvme: cannot be enabled: ${wrong}`)
      this.#refused = true
      return
    }
    const shift = MIN_PAGE_SHIFT + ((this.#cc & CC.MPS) >> CC.MPS_SHIFT)
    this.#controller.enable({
      pageSize: 2 ** shift,
      submissionBase: this.#asq[1]! * TWO_32 + this.#asq[0]!,
      submissionSize: (this.#aqa & AQA.SIZE) + 1,
      completionBase: this.#acq[1]! * TWO_32 + this.#acq[0]!,
      completionSize: ((this.#aqa >> AQA.ACQS_SHIFT) & AQA.SIZE) + 1,
      entriesAreRight: () => this.#entriesAreRight,
    })
    this.#ready = true
  }

  #whatIsWrong(): string | undefined {
    const pageShift = MIN_PAGE_SHIFT + ((this.#cc & CC.MPS) >> CC.MPS_SHIFT)
    if (pageShift > MAX_PAGE_SHIFT) return `pages of ${2 ** pageShift} bytes`
    if ((this.#cc & CC.CSS) !== 0) return 'a command set other than NVM'
    if ((this.#cc & CC.AMS) !== 0) return 'an arbitration that is not offered'
    if ((this.#aqa & AQA.SIZE) === 0 || this.#aqa >> AQA.ACQS_SHIFT === 0)
      return 'admin queues of one entry'
    const inPage = (this.#asq[0]! | this.#acq[0]!) & (2 ** pageShift - 1)
    if (inPage !== 0) return 'admin queues that do not start a page'
    return undefined
  }

  /** RDY goes when no guest memory is in use any more. */
  #disable(): void {
    this.#refused = false
    this.#shutdown = 0
    this.#controller.disable()
    const { quiet } = this.#controller
    if (quiet === undefined) this.#ready = false
    else this.#whenQuiet(quiet)
  }

  #whenQuiet(quiet: Promise<void>): void {
    void quiet.then(() => {
      if (this.#controller.quiet !== undefined) return
      this.#ready = this.#controller.enabled
      if ((this.#cc & CC.EN) !== 0 && !this.#ready) this.#enable()
    })
  }

  #shutDown(): void {
    this.#shutdown = CSTS.SHST_OCCURRING
    const latest = this.#controller
      .flush()
      .catch((error: unknown) => this.#log.error('nvme: flush at shutdown', error))
      .finally(() => {
        // the end of an earlier one says nothing of what was written since
        if (this.#shuttingDown === latest && this.#shutdown === CSTS.SHST_OCCURRING)
          this.#shutdown = CSTS.SHST_COMPLETE
      })
    this.#shuttingDown = latest
  }

  /** Whether the guest has said right how large the entries of its I/O queues are. */
  get #entriesAreRight(): boolean {
    return (
      (this.#cc & CC.IOSQES) >> CC.IOSQES_SHIFT === SQES &&
      (this.#cc & CC.IOCQES) >> CC.IOCQES_SHIFT === CQES
    )
  }
}
