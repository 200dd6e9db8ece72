/** A driver that hangs. */

/** Its `remove` does not return, and so neither does anything else of its process. */
export const STUCK = `
export const stuck = {
  name: 'stuck',
  types: { 1: {} },
  probe(mdev) {
    mdev.pci({ vendor: 0x4348, device: 0x3253, class: 0x070002 })
    return { reset() {}, remove() { for (;;) {} } }
  },
}
`
