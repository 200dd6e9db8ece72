/** What devices are tested with: signals that count, and configuration space as a guest reaches it. */
import assert from 'node:assert/strict'
import type { Device } from '../../src/device/device.ts'
import type { Signal } from '../../src/device/irq.ts'
import { PciDevice } from '../../src/device/pci-device.ts'
import type { PciFunction, ResetCause } from '../../src/device/pci.ts'
import type { DeviceRegion } from '../../src/device/region.ts'
import type { Registers, Width } from '../../src/device/registers.ts'

/** A signal that counts, and that must not be used after it is closed. */
export class FakeSignal implements Signal {
  fired = 0
  closed = 0

  signal(): void {
    assert.equal(this.closed, 0, 'a closed signal was used')
    this.fired++
  }
  close(): void {
    this.closed++
  }
}

/** Registers that read 0. */
export const NOTHING: Registers = { read: () => 0, write: () => {} }

// VFIO_PCI_*_REGION_INDEX and VFIO_PCI_*_IRQ_INDEX of <linux/vfio.h>
export const ROM_REGION = 6
export const CONFIG_REGION = 7
export const INTX = 0
export const MSI = 1
export const MSIX = 2
export const ERR = 3
export const REQ = 4

/** A region as a guest accesses it. */
export class Window {
  readonly #region: DeviceRegion
  readonly #view = new DataView(new ArrayBuffer(4))

  constructor(device: Device, index: number) {
    const region = device.regions[index]
    assert.ok(region, `region ${index}`)
    this.#region = region
  }

  get size(): number {
    return this.#region.size
  }

  read(offset: number, width: Width): number {
    this.#region.read(this.#view, 0, offset, width)
    if (width === 4) return this.#view.getUint32(0, true)
    return width === 2 ? this.#view.getUint16(0, true) : this.#view.getUint8(0)
  }

  write(offset: number, value: number, width: Width): void {
    this.#view.setUint32(0, value, true)
    this.#region.write(this.#view, 0, offset, width)
  }

  /** All of it, read in one go. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.size)
    this.#region.read(new DataView(all.buffer), 0, 0, all.length)
    return all
  }
}

export function configOf(device: Device): Window {
  return new Window(device, CONFIG_REGION)
}

/** Vendor and device ids that mtty uses, and a serial controller's class. */
export const IDENTITY = { vendor: 0x4348, device: 0x3253, class: 0x07_00_02 }

/** A function as `build` makes it, complete. Its resets are noted in `resets`, and go to `onReset`. */
export function pciDevice(
  build: (pci: PciFunction) => void,
  { identity = IDENTITY, onReset = (_why: ResetCause) => {} } = {},
) {
  const device = new PciDevice(identity)
  build(device)
  const resets: ResetCause[] = []
  device.seal((why) => {
    resets.push(why)
    onReset(why)
  })
  return { device, resets, config: configOf(device) }
}

/** A capability in configuration space: where it is and which. */
export interface FoundCapability {
  readonly id: number
  readonly at: number
}

/** Walks the list as Linux does (drivers/pci/pci.c, __pci_find_next_cap), and more strictly. */
export function capabilitiesOf(config: Window): FoundCapability[] {
  const found: FoundCapability[] = []
  // PCI 3.0, 6.7: the list is there if bit 4 of Status says so, and starts at the byte at 0x34
  if ((config.read(0x06, 2) & 0x10) === 0) {
    assert.equal(config.read(0x34, 1), 0)
    return found
  }
  for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) {
    assert.ok(at >= 0x40 && at < 0x100 && at % 4 === 0, `capability at ${at}`)
    assert.ok(
      found.every((capability) => capability.at !== at),
      'the list is a circle',
    )
    found.push({ id: config.read(at, 1), at })
  }
  return found
}

/** Where the capability of this id lies. */
export function capabilityAt(config: Window, id: number): number {
  const capability = capabilitiesOf(config).find((found) => found.id === id)
  assert.ok(capability, `capability ${id}`)
  return capability.at
}
