/** Configuration space, as far as a server's own words must fit it. */
import * as wire from '../../../abi/vfio-user.ts'
import * as pci from '../../../abi/pci.ts'
import { type Check, expect, expectSuccess } from '../check.ts'
import { capabilityAt, pciCapabilities } from '../pci-capabilities.ts'
import type { RawConnection } from '../raw-connection.ts'
import { access, u32 } from '../requests.ts'
import { configOf, configValue } from '../survey.ts'
import { Skip } from '../violation.ts'

const BARS = 6

async function readDword(connection: RawConnection, region: number, at: number): Promise<number> {
  const frame = await connection.request(wire.VFIO_USER_REGION_READ, access(region, at, 4))
  expectSuccess(frame, `a read of 4 bytes of configuration space at ${at}`, 20)
  return frame.payload.readUInt32LE(16)
}

async function writeDword(
  connection: RawConnection,
  region: number,
  at: number,
  value: number,
): Promise<void> {
  const request = access(region, at, 4, u32(value))
  const frame = await connection.request(wire.VFIO_USER_REGION_WRITE, request)
  expectSuccess(frame, `a write of 4 bytes of configuration space at ${at}`)
}

export const CONFIG_CHECKS: readonly Check[] = [
  {
    id: 'config.capabilities',
    rule: 'The list of PCI capabilities ends, and each is at 0x40 or later.',
    reference: '§16.1, §18',
    destructive: false,
    async run({ survey }) {
      configOf(survey)
      pciCapabilities(survey)
    },
  },
  {
    id: 'config.msix-bars',
    rule: 'Table and PBA of MSI-X lie inside BARs that are there.',
    reference: '§16.3, §18',
    destructive: false,
    async run({ survey }) {
      const at = capabilityAt(survey, pci.PCI_CAP_ID_MSIX)
      if (at === undefined) throw new Skip('it has no MSI-X')
      const flags = configValue(survey, at + pci.PCI_MSIX_FLAGS, 2)
      const vectors = (flags & pci.PCI_MSIX_FLAGS_QSIZE) + 1
      for (const [what, register, length] of [
        ['table', pci.PCI_MSIX_TABLE, vectors * pci.PCI_MSIX_ENTRY_SIZE],
        ['PBA', pci.PCI_MSIX_PBA, Math.ceil(vectors / 64) * 8],
      ] as const) {
        const value = configValue(survey, at + register, 4)
        const [bar, offset] = [value & 7, value - (value & 7)]
        const size = bar < BARS ? (survey.regions[bar]?.size ?? 0) : 0
        const end = offset + length
        expect(end <= size, `MSI-X ${what}: BAR ${bar} of ${end} bytes or more`, size)
      }
    },
  },
  {
    id: 'config.bar-masks',
    rule: 'A BAR register to which all ones are written reads back the size of its region, as Cloud Hypervisor asks for it.',
    reference: '§16.1, §17.1, §18',
    destructive: true,
    async run(context) {
      const { survey } = context
      const { region } = configOf(survey)
      const connection = await context.attach()
      for (let bar = 0; bar < BARS; bar++) {
        const at = pci.PCI_BASE_ADDRESS_0 + 4 * bar
        const before = await readDword(connection, region, at)
        const size = survey.regions[bar]?.size ?? 0
        const isIo = (before & pci.PCI_BASE_ADDRESS_SPACE_IO) !== 0
        const isWide = !isIo && (before & pci.PCI_BASE_ADDRESS_MEM_TYPE_64) !== 0
        const high = isWide ? await readDword(connection, region, at + 4) : 0
        await writeDword(connection, region, at, 0xffff_ffff)
        if (isWide) await writeDword(connection, region, at + 4, 0xffff_ffff)
        const low = (await readDword(connection, region, at)) & (isIo ? ~0x3 : ~0xf)
        const top = isWide ? await readDword(connection, region, at + 4) : 0xffff_ffff
        await writeDword(connection, region, at, before)
        if (isWide) await writeDword(connection, region, at + 4, high)
        const mask = (BigInt(top) << 32n) | BigInt(low >>> 0)
        // an I/O BAR may leave the upper half of its register at 0
        const full = isIo && low >>> 16 === 0 ? mask | 0xffff_0000n : mask
        const found = low === 0 && top === 0xffff_ffff && !isWide ? 0n : BigInt.asUintN(64, -full)
        expect(found === BigInt(size), `BAR ${bar}: a mask for ${size} bytes`, `for ${found}`)
        if (isWide) bar++
      }
    },
  },
]
