/** The standard PCI capabilities: what each puts into config space, and which of its bits the guest may write. */
import * as pci from '../abi/pci.ts'
import type { ConfigSpace } from './config-space.ts'

/** MSI with 64-bit addresses and no per-vector masks. */
export function addMsi(config: ConfigSpace, count: number): void {
  const at = config.addCapability(pci.PCI_CAP_ID_MSI, pci.PCI_CAP_MSI_SIZEOF_64)
  const multipleMessages = Math.log2(count) << 1
  config.view.setUint16(at + pci.PCI_MSI_FLAGS, pci.PCI_MSI_FLAGS_64BIT | multipleMessages, true)
  config.allowWrites(at + pci.PCI_MSI_FLAGS, 2, pci.PCI_MSI_FLAGS_ENABLE | pci.PCI_MSI_FLAGS_QSIZE)
  config.allowWrites(at + pci.PCI_MSI_ADDRESS_LO, 4, ~3)
  config.allowWrites(at + pci.PCI_MSI_ADDRESS_HI, 4, ~0)
  config.allowWrites(at + pci.PCI_MSI_DATA_64, 2, 0xffff)
}

/** MSI-X with its table and pending bits in BAR `bar`. */
export function addMsix(
  config: ConfigSpace,
  count: number,
  bar: number,
  tableOffset: number,
  pbaOffset: number,
): void {
  const at = config.addCapability(pci.PCI_CAP_ID_MSIX, pci.PCI_CAP_MSIX_SIZEOF)
  config.view.setUint16(at + pci.PCI_MSIX_FLAGS, count - 1, true)
  config.allowWrites(
    at + pci.PCI_MSIX_FLAGS,
    2,
    pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL,
  )
  config.view.setUint32(at + pci.PCI_MSIX_TABLE, tableOffset | bar, true)
  config.view.setUint32(at + pci.PCI_MSIX_PBA, pbaOffset | bar, true)
}

const PM_VERSION_3 = 3
const D0 = 0
const D3HOT = 3

/**
 * Power management, version 3, D0 and D3hot.
 *
 * @param onPowerUp called when the guest goes from D3hot to D0, which loses state
 * @returns to be called after a reset, which puts the function into D0
 */
export function addPowerManagement(config: ConfigSpace, onPowerUp: () => void): () => void {
  const at = config.addCapability(pci.PCI_CAP_ID_PM, pci.PCI_PM_SIZEOF)
  config.view.setUint16(at + pci.PCI_PM_PMC, PM_VERSION_3, true)
  config.allowWrites(at + pci.PCI_PM_CTRL, 2, pci.PCI_PM_CTRL_STATE_MASK)
  let state = D0
  config.watch(at + pci.PCI_PM_CTRL, 2, () => {
    const control = config.view.getUint16(at + pci.PCI_PM_CTRL, true)
    const wanted = control & pci.PCI_PM_CTRL_STATE_MASK
    if (wanted !== D0 && wanted !== D3HOT) {
      // D1 and D2 are optional and not there: writing them changes nothing (PCI PM 1.2, 3.2.4)
      config.view.setUint16(
        at + pci.PCI_PM_CTRL,
        (control & ~pci.PCI_PM_CTRL_STATE_MASK) | state,
        true,
      )
      return
    }
    const before = state
    state = wanted
    if (before === D3HOT && wanted === D0) onPowerUp()
  })
  return () => {
    state = D0
  }
}

const EXPRESS_VERSION_2 = 2
/** Relaxed ordering, no snoop, read requests of 512 bytes: the defaults of PCI Express 7.5.3.4. */
const DEVCTL_DEFAULT = 0x2810
const DEVCTL_WRITABLE = 0x7fff
/** 2.5 GT/s, one lane: in Link Capabilities and in Link Status. */
const LINK_X1_2_5GT = 0x11
const LNKCTL_WRITABLE = 0x01fb

/**
 * A PCI Express endpoint with function level reset.
 *
 * @param onFlr called when the guest starts one; nothing of the device may be touched by it afterwards
 */
export function addExpress(config: ConfigSpace, onFlr: () => void): void {
  const at = config.addCapability(pci.PCI_CAP_ID_EXP, pci.PCI_EXP_VER2_SIZEOF)
  config.view.setUint16(
    at + pci.PCI_EXP_FLAGS,
    EXPRESS_VERSION_2 | (pci.PCI_EXP_TYPE_ENDPOINT << 4),
    true,
  )
  config.view.setUint32(
    at + pci.PCI_EXP_DEVCAP,
    pci.PCI_EXP_DEVCAP_RBER | pci.PCI_EXP_DEVCAP_FLR,
    true,
  )
  config.view.setUint16(at + pci.PCI_EXP_DEVCTL, DEVCTL_DEFAULT, true)
  config.view.setUint32(at + pci.PCI_EXP_LNKCAP, LINK_X1_2_5GT, true)
  config.view.setUint16(at + pci.PCI_EXP_LNKSTA, LINK_X1_2_5GT, true)
  config.allowWrites(at + pci.PCI_EXP_DEVCTL, 2, DEVCTL_WRITABLE | pci.PCI_EXP_DEVCTL_BCR_FLR)
  config.allowWrites(at + pci.PCI_EXP_LNKCTL, 2, LNKCTL_WRITABLE)
  config.watch(at + pci.PCI_EXP_DEVCTL, 2, () => {
    const control = config.view.getUint16(at + pci.PCI_EXP_DEVCTL, true)
    // The bit always reads as 0; the reset puts the register back.
    if ((control & pci.PCI_EXP_DEVCTL_BCR_FLR) !== 0) onFlr()
  })
}
