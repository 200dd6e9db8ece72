/** The PCI function: a controller with its registers, doorbells and interrupts, on a slice of a disk. */
import { systemClock, type Clock, type DeviceOps, type Mdev, type PciIdentity } from 'mdevkit'
import { Controller } from './controller.ts'
import type { Slice, SliceOptions } from './disk.ts'
import { Interrupts } from './interrupts.ts'
import { type BlockSize, Namespace } from './namespace.ts'
import { ControllerRegisters } from './registers.ts'
import { REGISTER } from './spec.ts'

/** Red Hat's vendor id has numbers to spare; the class is what stock drivers look for: NVMe, I/O controller. */
const IDENTITY = {
  vendor: 0x1b36,
  device: 0xbe20,
  class: 0x01_08_02,
} as const satisfies PciIdentity

const MODEL = 'mdevkit NVMe'
const FIRMWARE = '1.0'
const BAR = 0
/** Registers and doorbells. */
const BAR_SIZE = 0x2000
const DOORBELL_SIZE = 4

/** Most pairs of I/O queues; each doorbell may take an eventfd. */
export const MAX_QUEUES = 64

export interface FunctionOptions {
  readonly serial: string
  readonly blockSize: BlockSize
  /** Pairs of I/O queues. */
  readonly queues: number
  readonly clock?: Clock
}

/**
 * Builds the function of an mdev.
 *
 * @param openSlice opens what the guest gets; told what to call after each batch of completions
 * @throws EINVAL the block size does not fit the slice
 */
export function nvmeFunction(
  mdev: Pick<Mdev, 'pci' | 'dma' | 'log' | 'uuid'>,
  options: FunctionOptions,
  openSlice: (events: Pick<SliceOptions, 'onBatch'>) => Slice,
): Pick<DeviceOps, 'reset' | 'quiesce'> & { readonly slice: Slice } {
  const { serial, blockSize, queues, clock = systemClock } = options
  const pci = mdev.pci(IDENTITY)
  pci.express()
  pci.powerManagement()
  const interrupts = new Interrupts(pci.msix(queues + 1), pci.intx(), clock)
  const slice = openSlice({ onBatch: () => controller.work() })
  const controller: Controller = new Controller({
    dma: mdev.dma,
    log: mdev.log,
    clock,
    interrupts,
    namespace: namespaceOn(slice, blockSize),
    identity: {
      uuid: mdev.uuid,
      vendor: IDENTITY.vendor,
      subsystemVendor: IDENTITY.vendor,
      serial,
      model: MODEL,
      firmware: FIRMWARE,
    },
    maxQueues: queues,
  })
  const registers = new ControllerRegisters(controller, interrupts, mdev.log)
  pci.bar(BAR, { kind: 'mem64', size: BAR_SIZE }, registers)
  for (let number = 0; number < 2 * (queues + 1); number++) {
    const offset = REGISTER.DOORBELLS + number * DOORBELL_SIZE
    pci.doorbell(BAR, { offset, width: DOORBELL_SIZE }, (value) => controller.ring(number, value))
  }
  return {
    reset: () => registers.reset(),
    // the disk may be waiting for the client, where that has to be asked for its memory
    quiesce: () => (controller.asks ? undefined : controller.quiet),
    slice,
  }
}

/** @throws EINVAL, with the slice closed */
function namespaceOn(slice: Slice, blockSize: BlockSize): Namespace {
  try {
    return new Namespace(slice, blockSize)
  } catch (error) {
    void slice.close()
    throw error
  }
}
