/** What is found out about a server before it is checked. Wrong answers are taken for nothing here: checks find them. */
import * as wire from '../../abi/vfio-user.ts'
import * as vfio from '../../abi/vfio.ts'
import type { Frame, RawConnection } from './raw-connection.ts'
import { isError } from './raw-connection.ts'
import { access, deviceInfo, irqInfo, regionInfo } from './requests.ts'
import { Skip } from './violation.ts'

/** More than any known client asks for. */
const MAX_REGIONS = 128
const MAX_IRQS = 64
const MAX_CONFIG = 4096

export interface SurveyedRegion {
  readonly index: number
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly flags: number
  /** Bytes. */
  readonly size: number
  /** Bytes of the whole answer, capabilities included. */
  readonly argsz: number
}

export interface SurveyedIrq {
  readonly index: number
  /** VFIO_IRQ_INFO_*. */
  readonly flags: number
  readonly count: number
}

export interface Survey {
  readonly major: number
  readonly minor: number
  /** As the server says them; absent ones are absent. */
  readonly capabilities: Readonly<Record<string, unknown>>
  /** VFIO_DEVICE_FLAGS_*. */
  readonly flags: number
  readonly regions: readonly SurveyedRegion[]
  readonly irqs: readonly SurveyedIrq[]
  /** The whole configuration space; empty where it cannot be read. */
  readonly config: Buffer
}

/** Asks over `connection`, on which VERSION has been answered with `version`. */
export async function takeSurvey(connection: RawConnection, version: Frame): Promise<Survey> {
  const ask = async (command: number, payload: Uint8Array, length: number): Promise<Buffer> => {
    const frame = await connection.request(command, payload)
    // what is missing reads as zeros
    return isError(frame)
      ? Buffer.alloc(length)
      : Buffer.concat([frame.payload, Buffer.alloc(length)])
  }
  const info = await ask(wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo(), 16)
  const regions: SurveyedRegion[] = []
  for (let index = 0; index < Math.min(info.readUInt32LE(8), MAX_REGIONS); index++) {
    const reply = await ask(wire.VFIO_USER_DEVICE_GET_REGION_INFO, regionInfo(index), 32)
    regions.push({
      index,
      argsz: reply.readUInt32LE(0),
      flags: reply.readUInt32LE(4),
      size: Number(reply.readBigUInt64LE(16)),
    })
  }
  const irqs: SurveyedIrq[] = []
  for (let index = 0; index < Math.min(info.readUInt32LE(12), MAX_IRQS); index++) {
    const reply = await ask(wire.VFIO_USER_DEVICE_GET_IRQ_INFO, irqInfo(index), 16)
    irqs.push({ index, flags: reply.readUInt32LE(4), count: reply.readUInt32LE(12) })
  }
  const flags = info.readUInt32LE(4)
  const isPci = (flags & vfio.VFIO_DEVICE_FLAGS_PCI) !== 0
  const size = isPci ? (regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX]?.size ?? 0) : 0
  let config: Buffer = Buffer.alloc(0)
  if (size > 0 && size <= MAX_CONFIG) {
    const request = access(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 0, size)
    config = (await ask(wire.VFIO_USER_REGION_READ, request, 0)).subarray(16)
  }
  return {
    major: version.payload.length < 4 ? 0 : version.payload.readUInt16LE(0),
    minor: version.payload.length < 4 ? 0 : version.payload.readUInt16LE(2),
    capabilities: capabilitiesOf(version.payload.subarray(4)),
    flags,
    regions,
    irqs,
    config,
  }
}

/** What can be made of the JSON of a VERSION reply. */
export function capabilitiesOf(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString().replaceAll('\0', ''))
    const { capabilities } = json as { readonly capabilities?: unknown }
    return isObject(capabilities) ? capabilities : {}
  } catch {
    return {}
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isPci({ flags }: Survey): boolean {
  return (flags & vfio.VFIO_DEVICE_FLAGS_PCI) !== 0
}

/** What it is that checks read: the configuration space, reading which has no effect. @throws Skip there is none */
export function configOf(survey: Survey): { readonly region: number; readonly size: number } {
  if (survey.config.length < 64) throw new Skip('it has no configuration space that can be read')
  return { region: vfio.VFIO_PCI_CONFIG_REGION_INDEX, size: survey.config.length }
}

/** Most bytes of one transfer (§5). */
export function maxTransfer({ capabilities }: Survey): number {
  const { max_data_xfer_size: most } = capabilities
  return typeof most === 'number' ? most : 1_048_576
}

/** Most fds of one message to the server (§5). */
export function maxFds({ capabilities }: Survey): number {
  const { max_msg_fds: most } = capabilities
  return typeof most === 'number' ? most : 1
}

/** @throws Skip every region is there */
export function absentRegion(survey: Survey): SurveyedRegion {
  const region = survey.regions.find(({ size }) => size === 0)
  if (region === undefined) throw new Skip('every region has a size')
  return region
}

/** The value of `width` bytes in configuration space. */
export function configValue(survey: Survey, offset: number, width: 1 | 2 | 4): number {
  configOf(survey)
  return survey.config.readUIntLE(offset, width)
}
