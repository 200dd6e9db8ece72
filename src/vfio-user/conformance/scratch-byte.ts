/**
 * The one byte that every PCI device has for software to write what it likes, without any effect: the Interrupt Line of
 * configuration space. A device without INTx may have it fixed at 0.
 */
import * as wire from '../../abi/vfio-user.ts'
import * as pci from '../../abi/pci.ts'
import { expectSuccess } from './check.ts'
import type { RawConnection } from './raw-connection.ts'
import { access } from './requests.ts'
import { configOf, type Survey } from './survey.ts'
import { Skip } from './violation.ts'

const offset = pci.PCI_INTERRUPT_LINE
const { size: FIXED } = wire.VfioUserRegionAccess

async function read(connection: RawConnection, survey: Survey): Promise<number> {
  const request = access(configOf(survey).region, offset, 1)
  const frame = await connection.request(wire.VFIO_USER_REGION_READ, request)
  expectSuccess(frame, 'a read of the Interrupt Line', FIXED + 1)
  return frame.payload[FIXED] ?? 0
}

async function write(connection: RawConnection, survey: Survey, value: number): Promise<void> {
  const request = access(configOf(survey).region, offset, 1, Buffer.of(value))
  const frame = await connection.request(wire.VFIO_USER_REGION_WRITE, request)
  expectSuccess(frame, 'a write of the Interrupt Line')
}

/** @returns what the byte holds @throws Skip it does not keep what is written */
async function find(connection: RawConnection, survey: Survey): Promise<number> {
  const before = await read(connection, survey)
  await write(connection, survey, before ^ 0xff)
  const after = await read(connection, survey)
  await write(connection, survey, before)
  if (after !== (before ^ 0xff)) throw new Skip('its Interrupt Line does not keep what is written')
  return before
}

export const scratchByte = { offset, read, write, find } as const
