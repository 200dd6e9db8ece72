/**
 * framebuffer: a screen of 256 by 256 pixels in memory that the guest maps. Ringing the doorbell at offset 0 of BAR 0 writes
 * the picture to `screen.ppm` in the mdev's directory; when it is there, MSI-X vector 0 is sent.
 *
 * Pixels are in BAR 2, line by line, four bytes each: blue, green, red, unused.
 */
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { defineDriver } from 'mdevkit'

const [WIDTH, HEIGHT] = [256, 256]
const PRESENT = 0

export const framebuffer = defineDriver({
  name: 'framebuffer',
  types: { 1: { name: 'Screen' } },
  probe(mdev) {
    const pixels = mdev.sharedMemory(WIDTH * HEIGHT * 4)
    const file = join(mdev.directory, 'screen.ppm')
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe15, class: 0x03_80_00 })
    pci.bar(0, { kind: 'mem32', size: 16 }, { read: () => 0, write: () => {} })
    pci.bar(2, { kind: 'mem32', size: pixels.size, prefetchable: true, memory: pixels })
    const [written] = pci.msix(1)

    let last = Promise.resolve()
    pci.doorbell(0, { offset: PRESENT }, () => {
      const picture = ppm(pixels.bytes) // as it is now: the guest draws on
      last = last
        .then(async () => {
          await writeFile(`${file}.new`, picture)
          await rename(`${file}.new`, file)
          written?.trigger()
        })
        .catch((error: unknown) => mdev.log.error('screen', error))
    })
    return { reset: () => void pixels.bytes.fill(0), status: () => ({ screen: file }) }
  },
})

/** A picture in the portable pixmap format. */
function ppm(pixels: Uint8Array): Uint8Array {
  const header = Buffer.from(`P6 ${WIDTH} ${HEIGHT} 255\n`)
  const picture = new Uint8Array(header.length + WIDTH * HEIGHT * 3)
  picture.set(header)
  for (let from = 0, to = header.length; to < picture.length; from += 4, to += 3) {
    picture[to] = pixels[from + 2]!
    picture[to + 1] = pixels[from + 1]!
    picture[to + 2] = pixels[from]!
  }
  return picture
}
