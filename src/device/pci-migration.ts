/** What migrates of a PCI function: configuration space, interrupts that are pending, and what its driver knows. */
import { ErrnoError } from '../lib/errno.ts'
import type { ConfigSpace } from './config-space.ts'
import { checkDeviceState, decodeState, type DeviceState, encodeState } from './device-state.ts'
import type { IrqIndex } from './irq.ts'
import type { Migratable } from './migration.ts'
import type { MsixTable } from './msix-table.ts'

export interface PciMigrationOptions {
  readonly config: ConfigSpace
  readonly irqs: readonly IrqIndex[]
  readonly msix: MsixTable | undefined
  readonly state: DeviceState
  /** Back to the power-on state. */
  readonly reset: () => void
  /** Shuts guest memory off, and opens it. */
  readonly holdMemory: (held: boolean) => void
}

export class PciMigration implements Migratable {
  readonly #options: PciMigrationOptions

  /** @throws EINVAL the driver's hook cannot be used */
  constructor(options: PciMigrationOptions) {
    checkDeviceState(options.state)
    this.#options = options
  }

  hold(): void {
    this.#options.holdMemory(true)
    for (const irq of this.#options.irqs) irq.held = true
  }

  release(): void {
    this.#options.holdMemory(false)
    for (const irq of this.#options.irqs) irq.held = false
  }

  save(): Uint8Array {
    const { config, state } = this.#options
    const device = state.save()
    const interrupts = Buffer.concat(this.#interruptParts().map((part) => part.save()))
    return encodeState(state, { config: config.save(), interrupts, device })
  }

  /** All that can be checked is checked before the device is touched. */
  load(stream: Uint8Array): void {
    const { config, state, reset } = this.#options
    const saved = decodeState(state, stream)
    config.check(saved.config)
    const interrupts = this.#splitInterrupts(saved.interrupts)
    reset()
    try {
      config.load(saved.config)
      for (const [i, part] of this.#interruptParts().entries()) part.load(interrupts[i]!)
      state.load(saved.device.slice(), saved.version)
    } catch (error) {
      reset() // what was loaded in part is no state at all
      throw error
    }
  }

  /** In the order of the stream. */
  #interruptParts(): readonly (IrqIndex | MsixTable)[] {
    const { irqs, msix } = this.#options
    return msix === undefined ? irqs : [...irqs, msix]
  }

  /** @throws EINVAL of a function with other vectors, or no pending bits */
  #splitInterrupts(saved: Uint8Array): readonly Uint8Array[] {
    let at = 0
    const parts = this.#interruptParts().map((part) => {
      const { length } = part.save()
      const bytes = saved.subarray(at, (at += length))
      if (part !== this.#options.msix && bytes.some((pending) => pending > 1))
        throw new ErrnoError('EINVAL', 'device state: interrupts that are neither pending nor not')
      return bytes
    })
    if (at !== saved.length)
      throw new ErrnoError('EINVAL', `device state: ${saved.length} bytes of interrupts, not ${at}`)
    return parts
  }
}
