/**
 * link: a card that works only together with others. Those that share a group have links to each other, of which a parent has
 * a few; they are committed for the whole group when its first card is opened, and freed when the last is closed.
 */
import { defineDriver, ErrnoError, type Mdev, type Registers } from 'mdevkit'

const LINKS = 8 // per parent
/** Registers of BAR 0: links this card has, and its place among the cards of its group. */
const REGISTER = { links: 0, place: 4 } as const

/** What the cards of one parent share. */
interface Fabric {
  free: number
  /** Links of cards in groups that are in use, and their places in them. */
  readonly connected: Map<string, { readonly links: number; readonly place: number }>
}

export const link = defineDriver({
  name: 'link',
  types: { 1: { name: 'Card with links to its peers', peerToPeer: true } },
  open: (): Fabric => ({ free: LINKS, connected: new Map() }),
  groupOpen({ mdevs, members }, fabric) {
    const links = members.length - 1
    const needed = mdevs.length * links
    if (needed > fabric.free)
      throw new ErrnoError('ENOSPC', `${needed} links are needed, ${fabric.free} are free`)
    fabric.free -= needed
    for (const { uuid } of mdevs) {
      const place = members.findIndex((member) => member.uuid === uuid)
      fabric.connected.set(uuid, { links, place })
    }
  },
  groupClose({ mdevs, members }, fabric) {
    fabric.free += mdevs.length * (members.length - 1)
    for (const { uuid } of mdevs) fabric.connected.delete(uuid)
  },
  parentStatus: ({ free }) => ({ free_links: String(free) }),
  probe(mdev: Mdev, fabric: Fabric) {
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe17, class: 0xff_00_00 })
    const registers: Registers = {
      read(offset) {
        const { links = 0, place = 0 } = fabric.connected.get(mdev.uuid) ?? {}
        return { [REGISTER.links]: links, [REGISTER.place]: place }[offset] ?? 0
      },
      write() {},
    }
    pci.bar(0, { kind: 'mem32', size: 4096, maxWidth: 4 }, registers)
    return { reset() {} }
  },
})
