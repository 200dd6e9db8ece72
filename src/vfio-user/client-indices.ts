/** Names for the numbers of a PCI device's regions and interrupts. */
import * as vfio from '../abi/vfio.ts'

/** Regions, by what they are; others are the device's own. */
export const REGION = {
  bar0: vfio.VFIO_PCI_BAR0_REGION_INDEX,
  bar1: vfio.VFIO_PCI_BAR0_REGION_INDEX + 1,
  bar2: vfio.VFIO_PCI_BAR0_REGION_INDEX + 2,
  bar3: vfio.VFIO_PCI_BAR0_REGION_INDEX + 3,
  bar4: vfio.VFIO_PCI_BAR0_REGION_INDEX + 4,
  bar5: vfio.VFIO_PCI_BAR5_REGION_INDEX,
  rom: vfio.VFIO_PCI_ROM_REGION_INDEX,
  config: vfio.VFIO_PCI_CONFIG_REGION_INDEX,
} as const

/** Kinds of interrupts. */
export const IRQ = {
  intx: vfio.VFIO_PCI_INTX_IRQ_INDEX,
  msi: vfio.VFIO_PCI_MSI_IRQ_INDEX,
  msix: vfio.VFIO_PCI_MSIX_IRQ_INDEX,
  /** The device reports an error. */
  err: vfio.VFIO_PCI_ERR_IRQ_INDEX,
  /** The device asks to be let go. */
  req: vfio.VFIO_PCI_REQ_IRQ_INDEX,
} as const
