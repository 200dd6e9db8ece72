/** scratchpad: a PCI function with 4 KiB of registers that read back as written, and nothing else. */
import { defineDriver } from 'mdevkit'

export const scratchpad = defineDriver({
  name: 'scratchpad',
  types: { 1: { name: 'Scratch registers' } },
  probe(mdev) {
    const words = new DataView(new ArrayBuffer(4096))
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    pci.bar(
      0,
      { kind: 'mem32', size: 4096 },
      {
        read: (offset) => words.getUint32(offset & ~3, true) >>> (8 * (offset & 3)),
        write(offset, value, width) {
          for (let i = 0; i < width; i++) words.setUint8(offset + i, value >>> (8 * i))
        },
      },
    )
    return { reset: () => new Uint8Array(words.buffer).fill(0) }
  },
})
