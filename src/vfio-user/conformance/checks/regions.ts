/** DEVICE_GET_REGION_INFO: sizes, flags, capabilities, and files to be mapped. */
import { fstatSync } from 'node:fs'
import * as wire from '../../../abi/vfio-user.ts'
import * as pci from '../../../abi/pci.ts'
import * as vfio from '../../../abi/vfio.ts'
import { type Check, type Context, expect, expectSuccess, refusal } from '../check.ts'
import type { RawConnection } from '../raw-connection.ts'
import { PAGE, regionInfo } from '../requests.ts'
import { configValue, isPci, type SurveyedRegion, type Survey } from '../survey.ts'
import { Skip, Violation } from '../violation.ts'

const { VFIO_USER_DEVICE_GET_REGION_INFO: GET_REGION_INFO } = wire
const {
  VFIO_REGION_INFO_FLAG_MMAP: MMAP,
  VFIO_REGION_INFO_FLAG_CAPS: CAPS,
  VFIO_REGION_INFO_FLAG_READ: READ,
  VFIO_REGION_INFO_FLAG_WRITE: WRITE,
} = vfio
const FIXED = vfio.VfioRegionInfo.size
const BARS = 6
/** An answer longer than this is not worth having. */
const MAX_ANSWER = 64 * 1024

/** The whole answer for a region: its fixed part, its capabilities, its fds. */
interface Info {
  readonly name: string
  readonly flags: number
  readonly capOffset: number
  readonly size: number
  /** In the file. */
  readonly offset: number
  readonly payload: Buffer
  readonly fds: readonly number[]
}

async function infoOf(connection: RawConnection, { index, argsz }: SurveyedRegion): Promise<Info> {
  const room = Math.min(Math.max(argsz, FIXED), MAX_ANSWER)
  const frame = await connection.request(GET_REGION_INFO, regionInfo(index, room))
  const name = `region ${index}`
  expectSuccess(frame, `${name}, argsz ${room}`)
  const { payload, fds } = frame
  expect(payload.length >= FIXED, `${name}: ${FIXED} bytes or more`, payload.length)
  return {
    name,
    flags: payload.readUInt32LE(4),
    capOffset: payload.readUInt32LE(12),
    size: Number(payload.readBigUInt64LE(16)),
    offset: Number(payload.readBigUInt64LE(24)),
    payload,
    fds,
  }
}

/** Calls `look` with what is said of each region. */
async function forEachRegion(context: Context, look: (info: Info) => void): Promise<void> {
  const connection = await context.attach()
  for (const region of context.survey.regions) look(await infoOf(connection, region))
}

interface Capability {
  readonly id: number
  readonly version: number
  /** From the start of the struct, and of what follows the header. */
  readonly at: number
  readonly body: Buffer
}

/** The chain of capabilities. @throws Violation it leaves the answer, or comes back to where it has been */
function capabilitiesOf({ name, flags, capOffset, payload }: Info): readonly Capability[] {
  if ((flags & CAPS) === 0) return []
  const found: Capability[] = []
  for (let at = capOffset; at !== 0;) {
    const inside = at >= FIXED && at + 8 <= payload.length && at % 8 === 0
    expect(inside, `${name}: a capability at a multiple of 8 inside the answer`, `one at ${at}`)
    expect(
      found.every((capability) => capability.at !== at),
      `${name}: a chain of capabilities that ends`,
      `a second time ${at}`,
    )
    const body = payload.subarray(at + 8)
    found.push({ id: payload.readUInt16LE(at), version: payload.readUInt16LE(at + 2), at, body })
    at = payload.readUInt32LE(at + 4)
  }
  return found
}

interface Area {
  /** In the region. */
  readonly offset: number
  readonly size: number
}

/** The areas of a sparse region, sorted; undefined where the whole region is to be mapped. */
function areasOf(info: Info): readonly Area[] | undefined {
  const sparse = capabilitiesOf(info).find(({ id }) => id === vfio.VFIO_REGION_INFO_CAP_SPARSE_MMAP)
  if (sparse === undefined) return undefined
  const { body } = sparse
  const count = body.length < 8 ? 0 : body.readUInt32LE(0)
  expect(8 + 16 * count <= body.length, `${info.name}: ${count} areas`, `${body.length} bytes`)
  return Array.from({ length: count }, (_, i) => ({
    offset: Number(body.readBigUInt64LE(8 + 16 * i)),
    size: Number(body.readBigUInt64LE(16 + 16 * i)),
  })).toSorted((a, b) => a.offset - b.offset)
}

/** Skips a check that no region concerns. */
function some(regions: readonly SurveyedRegion[], what: string): readonly SurveyedRegion[] {
  if (regions.length === 0) throw new Skip(what)
  return regions
}

function mappable({ regions }: Survey): readonly SurveyedRegion[] {
  return some(
    regions.filter(({ flags }) => (flags & MMAP) !== 0),
    'no region can be mapped',
  )
}

function barRegister(survey: Survey, index: number): number {
  return configValue(survey, pci.PCI_BASE_ADDRESS_0 + 4 * index, 4)
}

export const REGION_CHECKS: readonly Check[] = [
  {
    id: 'regions.reply',
    rule: 'DEVICE_GET_REGION_INFO with argsz 32 is answered with exactly 32 bytes, for each index.',
    reference: '§4.1, §8.2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.regions) {
        const frame = await connection.request(GET_REGION_INFO, regionInfo(index))
        expectSuccess(frame, `region ${index}`, FIXED)
      }
    },
  },
  {
    id: 'regions.argsz',
    rule: 'The answer says as its argsz how long the whole of it is: 32, or more if there are capabilities.',
    reference: '§4, §8.2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.regions) {
        const { payload } = await connection.request(GET_REGION_INFO, regionInfo(index))
        const argsz = payload.readUInt32LE(0)
        expect(argsz >= FIXED && argsz <= MAX_ANSWER, `region ${index}: argsz 32 or more`, argsz)
      }
    },
  },
  {
    id: 'regions.index',
    rule: 'The answer repeats the index that was asked for.',
    reference: '§8.2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.regions) {
        const { payload } = await connection.request(GET_REGION_INFO, regionInfo(index))
        expect(payload.readUInt32LE(8) === index, `index ${index}`, payload.readUInt32LE(8))
      }
    },
  },
  {
    id: 'regions.flags',
    rule: 'The flags of a region are of those that are known: read, write, mmap, capabilities.',
    reference: '§8.2',
    destructive: false,
    async run(context) {
      await forEachRegion(context, ({ name, flags }) => {
        const known = (flags & ~(READ | WRITE | MMAP | CAPS)) === 0
        expect(known, `${name}: flags 0x0 to 0xf`, `flags 0x${flags.toString(16)}`)
      })
    },
  },
  {
    id: 'regions.absent',
    rule: 'A region that is not there has size 0 and flags 0, and asking for it succeeds.',
    reference: '§8.1',
    destructive: false,
    async run(context) {
      const absent = context.survey.regions.filter(({ size }) => size === 0)
      const connection = await context.attach()
      for (const region of some(absent, 'every region has a size')) {
        const { name, flags } = await infoOf(connection, region)
        expect(flags === 0, `${name}, which has no size: flags 0`, `0x${flags.toString(16)}`)
      }
    },
  },
  {
    id: 'regions.config',
    rule: 'The configuration space of a PCI device has 256 or 4096 bytes and can be read and written.',
    reference: '§8.1',
    destructive: false,
    async run({ survey }) {
      if (!isPci(survey)) throw new Skip('it is no PCI device')
      const region = survey.regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX]
      const { size = 0, flags = 0 } = region ?? {}
      expect([256, 4096].includes(size), 'a size of 256 or 4096', size)
      expect((flags & (READ | WRITE)) === (READ | WRITE), 'flags 0x3', `0x${flags.toString(16)}`)
    },
  },
  {
    id: 'regions.bar-sizes',
    rule: 'The size of a BAR is a power of two.',
    reference: '§8.4',
    destructive: false,
    async run({ survey }) {
      if (!isPci(survey)) throw new Skip('it is no PCI device')
      for (const { index, size } of survey.regions.slice(0, BARS)) {
        const isPower = size === 0 || Number.isInteger(Math.log2(size))
        expect(isPower, `BAR ${index}: a power of two`, size)
      }
    },
  },
  {
    id: 'regions.bar-64',
    rule: 'A 64-bit BAR is described at its lower index, and the next index has size 0.',
    reference: '§8.1, §16.1',
    destructive: false,
    async run({ survey }) {
      const wide = survey.regions.slice(0, BARS).filter(({ index, size }) => {
        const register = barRegister(survey, index)
        const isMemory = (register & pci.PCI_BASE_ADDRESS_SPACE_IO) === 0
        return size > 0 && isMemory && (register & pci.PCI_BASE_ADDRESS_MEM_TYPE_64) !== 0
      })
      for (const { index } of some(wide, 'no BAR has 64 bits')) {
        const { size = 0 } = survey.regions[index + 1] ?? {}
        expect(index < BARS - 1, 'a 64-bit BAR below index 5', index)
        expect(size === 0, `size 0 at index ${index + 1}, after 64-bit BAR ${index}`, size)
      }
    },
  },
  {
    id: 'regions.io-unmapped',
    rule: 'A BAR of I/O ports cannot be mapped.',
    reference: '§8.4, §18',
    destructive: false,
    async run({ survey }) {
      const ports = survey.regions.slice(0, BARS).filter(({ index, size }) => {
        const register = barRegister(survey, index)
        return size > 0 && (register & pci.PCI_BASE_ADDRESS_SPACE_IO) !== 0
      })
      for (const { index, flags } of some(ports, 'no BAR has I/O ports')) {
        expect((flags & MMAP) === 0, `BAR ${index}: no mmap flag`, `flags 0x${flags.toString(16)}`)
      }
    },
  },
  {
    id: 'regions.larger-argsz',
    rule: 'An argsz and a payload larger than needed are accepted; the answer is as long as its argsz says, or as the argsz that was asked with.',
    reference: '§4, §4.1, §18',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const { index } of context.survey.regions) {
        for (const [room, payload] of [
          [4064, regionInfo(index, 4064)],
          [4064, Buffer.concat([regionInfo(index, 4064), Buffer.alloc(4064 - FIXED)])],
        ] as const) {
          const what = `region ${index}, argsz ${room}, ${payload.length} bytes of payload`
          const frame = await connection.request(GET_REGION_INFO, payload)
          expectSuccess(frame, what)
          const { length } = frame.payload
          expect(length >= FIXED, `${what}: 32 bytes or more`, length)
          const argsz = frame.payload.readUInt32LE(0)
          const fits = length === room || (argsz <= room ? length === argsz : length === FIXED)
          expect(fits, `${what}: ${argsz} or ${room} bytes of answer`, length)
        }
      }
    },
  },
  {
    id: 'regions.huge-argsz',
    rule: 'An argsz of 4 GiB leads to no answer of that size: success with what is needed, or EINVAL.',
    reference: '§19',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      const frame = await connection.request(GET_REGION_INFO, regionInfo(0, 0xffff_ffff))
      expect(frame.payload.length <= MAX_ANSWER, '64 KiB of answer at most', frame.payload.length)
      await connection.expectAlive('an argsz of 4 GiB')
    },
  },
  {
    id: 'regions.short-answer',
    rule: 'When argsz has no room for the capabilities, the answer has flag 8 clear and cap_offset 0.',
    reference: '§8.2',
    destructive: false,
    async run(context) {
      const { regions } = context.survey
      const long = regions.filter(({ argsz }) => argsz > FIXED)
      const connection = await context.attach()
      for (const { index } of some(long, 'no region has capabilities')) {
        const { payload } = await connection.request(GET_REGION_INFO, regionInfo(index))
        const flags = payload.readUInt32LE(4)
        const what = `region ${index}, argsz 32`
        expect((flags & CAPS) === 0, `${what}: flag 8 clear`, `flags 0x${flags.toString(16)}`)
        const capOffset = payload.readUInt32LE(12)
        expect(capOffset === 0, `${what}: cap_offset 0`, capOffset)
      }
    },
  },
  {
    id: 'regions.capabilities',
    rule: 'The capabilities of a region form a chain inside the answer, aligned to 8 bytes, of version 1; without flag 8, cap_offset is 0.',
    reference: '§8.2, §8.3',
    destructive: false,
    async run(context) {
      await forEachRegion(context, (info) => {
        const { name, flags, capOffset } = info
        if ((flags & CAPS) === 0) expect(capOffset === 0, `${name}: cap_offset 0`, capOffset)
        else expect(capOffset !== 0, `${name}, with flag 8: a cap_offset`, capOffset)
        for (const { id, version } of capabilitiesOf(info)) {
          expect(version === 1, `${name}: capability ${id} of version 1`, version)
        }
      })
    },
  },
  {
    id: 'regions.sparse',
    rule: 'The areas of a sparse region are whole pages inside it, not empty, and do not overlap.',
    reference: '§8.3, §8.4',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      let found = false
      for (const region of mappable(context.survey)) {
        const info = await infoOf(connection, region)
        const areas = areasOf(info)
        if (areas === undefined) continue
        found = true
        let end = 0
        for (const { offset, size } of areas) {
          const what = `${info.name}: area ${offset}+${size}`
          expect(offset % PAGE === 0 && size % PAGE === 0, `${what}: whole pages`, 'parts of pages')
          expect(size > 0 && offset + size <= info.size, `${what}: inside the region`, info.size)
          expect(offset >= end, `${what}: to start at ${end} or later`, offset)
          end = offset + size
        }
      }
      if (!found) throw new Skip('no region is sparse')
    },
  },
  {
    id: 'regions.fds',
    rule: 'A region that can be mapped comes with one fd, every other with none.',
    reference: '§8.4, §18',
    destructive: false,
    async run(context) {
      await forEachRegion(context, ({ name, flags, fds }) => {
        const expected = (flags & MMAP) === 0 ? 0 : 1
        const what = `${name}, flags 0x${flags.toString(16)}: ${expected} fds`
        expect(fds.length === expected, what, fds.length)
      })
    },
  },
  {
    id: 'regions.files',
    rule: 'The file of a region is as long as what is to be mapped of it, from an offset that is whole pages.',
    reference: '§8.4, §18',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      for (const region of mappable(context.survey)) {
        const info = await infoOf(connection, region)
        const [fd] = info.fds
        if (fd === undefined) throw new Violation(`${info.name}: an fd`, 'none')
        const whole = [{ offset: 0, size: info.size }]
        const end = Math.max(...(areasOf(info) ?? whole).map(({ offset, size }) => offset + size))
        expect(info.offset % PAGE === 0, `${info.name}: whole pages of offset`, info.offset)
        const { size } = fstatSync(fd)
        expect(size >= info.offset + end, `${info.name}: ${info.offset + end} bytes or more`, size)
      }
    },
  },
  refusal({
    id: 'regions.short',
    rule: 'A payload of less than 32 bytes is refused with EINVAL.',
    reference: '§8.2, §19',
    command: GET_REGION_INFO,
    requests: () =>
      [1, 16, 31].map((length) => [`${length} bytes`, regionInfo(0).subarray(0, length)]),
  }),
  refusal({
    id: 'regions.small-argsz',
    rule: 'An argsz below 32 is refused with EINVAL.',
    reference: '§4, §8.2, §19',
    command: GET_REGION_INFO,
    requests: () => [0, 1, 31].map((argsz) => [`argsz ${argsz}`, regionInfo(0, argsz)]),
  }),
  refusal({
    id: 'regions.bad-index',
    rule: 'An index that is not below the number of regions is refused with EINVAL.',
    reference: '§8.2, §19',
    command: GET_REGION_INFO,
    requests: ({ regions }) =>
      [regions.length, regions.length + 1, 0x7fff_ffff, 0xffff_ffff].map((index) => [
        `index ${index} of ${regions.length}`,
        regionInfo(index),
      ]),
  }),
]
