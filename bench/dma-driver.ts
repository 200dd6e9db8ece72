/** A device that does nothing but lend its guest's memory to the benchmark. */
import { defineDriver, type Dma, type Driver } from '../src/index.ts'

/** Where the guest has its memory: beyond 32 bits, as most of a VM's is. */
export const IOVA = 2 ** 32

/** @param onProbe is told what a driver sees of the memory of each device */
export function dmaDriver(onProbe: (dma: Dma) => void): Driver {
  return defineDriver({
    name: 'dma',
    types: { 1: { name: 'Guest memory' } },
    probe(mdev) {
      mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
      onProbe(mdev.dma)
      return { reset() {} }
    },
  })
}
