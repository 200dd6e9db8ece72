/** Drivers of small devices that differ in their name and in how instances are counted. */
import { type AvailableInstances, defineDriver, text, type TypeInfo } from '../../src/index.ts'

const REGISTERS_SIZE = 4096

export interface Sized extends TypeInfo {
  readonly units: number
}

export function registerDriver(name: string, available: AvailableInstances<Sized>) {
  return defineDriver({
    name,
    types: { small: { units: 1 }, large: { units: 4 } },
    attributes: { note: text({ description: 'anything', default: '', change: 'live' }) },
    available,
    probe(mdev) {
      const words = new Uint32Array(REGISTERS_SIZE / 4)
      const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
      pci.bar(
        0,
        { kind: 'mem32', size: REGISTERS_SIZE },
        {
          read: (offset) => words[offset >> 2]!,
          write: (offset, value) => void (words[offset >> 2] = value),
        },
      )
      return { reset: () => void words.fill(0), changeAttributes() {} }
    },
  })
}
