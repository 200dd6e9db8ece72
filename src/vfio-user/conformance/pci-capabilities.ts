/** The list of PCI capabilities in a surveyed configuration space. */
import * as pci from '../../abi/pci.ts'
import { configValue, type Survey } from './survey.ts'
import { Skip, Violation } from './violation.ts'

export interface PciCapability {
  readonly id: number
  readonly at: number
}

/** @throws Skip no list · Violation it leaves the space, or comes back to where it has been */
export function pciCapabilities(survey: Survey): readonly PciCapability[] {
  if ((configValue(survey, pci.PCI_STATUS, 2) & pci.PCI_STATUS_CAP_LIST) === 0) return []
  const found: PciCapability[] = []
  // the two low bits are reserved
  let at = configValue(survey, pci.PCI_CAPABILITY_LIST, 1) & ~3
  while (at !== 0) {
    const where = at
    if (at < pci.PCI_STD_HEADER_SIZEOF)
      throw new Violation('capabilities from 0x40 on', `one at ${where}`)
    if (found.some((each) => each.at === where))
      throw new Violation('a list of capabilities that ends', `a second time ${where}`)
    found.push({ id: configValue(survey, at, 1), at })
    at = configValue(survey, at + pci.PCI_CAP_LIST_NEXT, 1) & ~3
  }
  return found
}

/** Where the capability `id` is; undefined where the list does not have it, or is broken. */
export function capabilityAt(survey: Survey, id: number): number | undefined {
  try {
    return pciCapabilities(survey).find((capability) => capability.id === id)?.at
  } catch (error) {
    if (error instanceof Violation) throw new Skip('its list of capabilities is broken')
    throw error
  }
}
