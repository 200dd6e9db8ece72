/** DEVICE_GET_IRQ_INFO. */
import * as wire from '../../../abi/vfio-user.ts'
import * as pci from '../../../abi/pci.ts'
import * as vfio from '../../../abi/vfio.ts'
import { type Check, expect, expectSuccess, refusal } from '../check.ts'
import { capabilityAt } from '../pci-capabilities.ts'
import { irqInfo, u32 } from '../requests.ts'
import { configValue, isPci, type Survey } from '../survey.ts'
import { Skip } from '../violation.ts'

const { VFIO_USER_DEVICE_GET_IRQ_INFO: GET_IRQ_INFO } = wire
const KNOWN_FLAGS =
  vfio.VFIO_IRQ_INFO_EVENTFD |
  vfio.VFIO_IRQ_INFO_MASKABLE |
  vfio.VFIO_IRQ_INFO_AUTOMASKED |
  vfio.VFIO_IRQ_INFO_NORESIZE
/** Most vectors of each index of a PCI device. */
const MOST = [1, 32, 2048, 1, 1]

/** @throws Skip there is no such index */
function countOf(survey: Survey, index: number): number {
  if (!isPci(survey)) throw new Skip('it is no PCI device')
  const irq = survey.irqs[index]
  if (irq === undefined) throw new Skip(`it has no irq index ${index}`)
  return irq.count
}

export const IRQ_CHECKS: readonly Check[] = [
  {
    id: 'irqs.reply',
    rule: 'DEVICE_GET_IRQ_INFO is answered with 16 bytes, for each index.',
    reference: '§4.1, §10.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.irqs) {
        expectSuccess(await connection.request(GET_IRQ_INFO, irqInfo(index)), `irq ${index}`, 16)
      }
    },
  },
  {
    id: 'irqs.argsz',
    rule: 'The answer to DEVICE_GET_IRQ_INFO says argsz 16.',
    reference: '§4, §10.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.irqs) {
        const { payload } = await connection.request(GET_IRQ_INFO, irqInfo(index))
        expect(payload.readUInt32LE(0) === 16, `irq ${index}: argsz 16`, payload.readUInt32LE(0))
      }
    },
  },
  {
    id: 'irqs.index',
    rule: 'The answer repeats the index that was asked for.',
    reference: '§10.1',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.irqs) {
        const { payload } = await connection.request(GET_IRQ_INFO, irqInfo(index))
        expect(payload.readUInt32LE(8) === index, `index ${index}`, payload.readUInt32LE(8))
      }
    },
  },
  {
    id: 'irqs.flags',
    rule: 'The flags of an irq index are of those that are known: EVENTFD, MASKABLE, AUTOMASKED, NORESIZE.',
    reference: '§10.1',
    destructive: false,
    async run({ survey }) {
      for (const { index, flags } of survey.irqs) {
        const known = (flags & ~KNOWN_FLAGS) === 0
        expect(known, `irq ${index}: flags 0x0 to 0xf`, `0x${flags.toString(16)}`)
      }
    },
  },
  {
    id: 'irqs.counts',
    rule: 'INTx, ERR and REQ have at most 1 vector, MSI 32, MSI-X 2048.',
    reference: '§10.1',
    destructive: false,
    async run({ survey }) {
      if (!isPci(survey)) throw new Skip('it is no PCI device')
      for (const { index, count } of survey.irqs) {
        const most = MOST[index] ?? Infinity
        expect(count <= most, `irq ${index}: ${most} vectors at most`, count)
      }
    },
  },
  {
    id: 'irqs.intx',
    rule: 'INTx has one vector if the Interrupt Pin is not 0, else none.',
    reference: '§10.1',
    destructive: false,
    async run({ survey }) {
      const count = countOf(survey, vfio.VFIO_PCI_INTX_IRQ_INDEX)
      const pin = configValue(survey, pci.PCI_INTERRUPT_PIN, 1)
      const expected = pin === 0 ? 0 : 1
      expect(count === expected, `Interrupt Pin ${pin}: ${expected} INTx vectors`, count)
    },
  },
  {
    id: 'irqs.msi',
    rule: 'MSI has as many vectors as its capability offers, and none without one.',
    reference: '§10.1',
    destructive: false,
    async run({ survey }) {
      const count = countOf(survey, vfio.VFIO_PCI_MSI_IRQ_INDEX)
      const at = capabilityAt(survey, pci.PCI_CAP_ID_MSI)
      // the log of the count is in bits 3:1
      const offered =
        at === undefined ? 0 : 1 << ((configValue(survey, at + pci.PCI_MSI_FLAGS, 2) >> 1) & 7)
      expect(count === offered, `${offered} vectors, as in configuration space`, count)
    },
  },
  {
    id: 'irqs.msix',
    rule: 'MSI-X has as many vectors as the table of its capability, and none without one.',
    reference: '§10.1',
    destructive: false,
    async run({ survey }) {
      const count = countOf(survey, vfio.VFIO_PCI_MSIX_IRQ_INDEX)
      const at = capabilityAt(survey, pci.PCI_CAP_ID_MSIX)
      const flags = at === undefined ? undefined : configValue(survey, at + pci.PCI_MSIX_FLAGS, 2)
      const size = flags === undefined ? 0 : (flags & pci.PCI_MSIX_FLAGS_QSIZE) + 1
      expect(count === size, `${size} vectors, as in configuration space`, count)
    },
  },
  {
    id: 'irqs.long',
    rule: 'A payload and an argsz larger than needed are accepted, and flags and count of the request are ignored.',
    reference: '§4, §18',
    destructive: false,
    async run(context) {
      if (context.survey.irqs.length === 0) throw new Skip('it has no interrupts')
      const connection = await context.attach()
      for (const [what, payload] of [
        ['argsz 32 and 32 bytes of payload', Buffer.concat([irqInfo(0, 32), Buffer.alloc(16)])],
        ['argsz 4096', irqInfo(0, 4096)],
        ['flags and count that are not 0', u32(16, 0xf, 0, 9)],
      ] as const) {
        expectSuccess(await connection.request(GET_IRQ_INFO, payload), what, 16)
      }
    },
  },
  refusal({
    id: 'irqs.short',
    rule: 'A payload of less than 16 bytes is refused with EINVAL.',
    reference: '§10.1, §19',
    command: GET_IRQ_INFO,
    requests: () => [1, 8, 15].map((length) => [`${length} bytes`, irqInfo(0).subarray(0, length)]),
  }),
  refusal({
    id: 'irqs.small-argsz',
    rule: 'An argsz below 16 is refused with EINVAL.',
    reference: '§4, §10.1, §19',
    command: GET_IRQ_INFO,
    requests: () => [0, 1, 15].map((argsz) => [`argsz ${argsz}`, irqInfo(0, argsz)]),
  }),
  refusal({
    id: 'irqs.bad-index',
    rule: 'An index that is not below the number of irq indexes is refused with EINVAL.',
    reference: '§10.1, §19',
    command: GET_IRQ_INFO,
    requests: ({ irqs }) =>
      [irqs.length, irqs.length + 1, 0x7fff_ffff, 0xffff_ffff].map((index) => [
        `index ${index} of ${irqs.length}`,
        irqInfo(index),
      ]),
  }),
]
