/** DEVICE_GET_REGION_INFO: what a region is, and what of it the client may map. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import type { MappableArea } from '../device/region-memory.ts'
import type { DeviceRegion } from '../device/region.ts'
import type { MemoryFile } from '../device/shared-memory.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Message } from './frame.ts'
import type { ServedClient } from './served-client.ts'
import type { Capabilities } from './version.ts'

const FIXED = vfio.VfioRegionInfo.size
const CAPABILITY_VERSION = 1

/** How a region is offered to one client. */
interface Offer {
  readonly flags: number
  /** The chain, its headers still without `next`. */
  readonly capabilities: readonly Uint8Array[]
  /** Sent with the whole answer. */
  readonly files: readonly MemoryFile[]
}

const NOT_MAPPED: Offer = { flags: 0, capabilities: [], files: [] }

const info = vfio.VfioRegionInfo.view()
const header = vfio.VfioInfoCapHeader.view()

/** @throws EINVAL no such region, argsz below the fixed part */
export function getRegionInfo(client: ServedClient, request: Message): number {
  const { argsz, index } = info.aim(request.view, request.at)
  if (argsz < FIXED) throw new ErrnoError('EINVAL', `DEVICE_GET_REGION_INFO: argsz ${argsz}`)
  const region = client.device.regions[index]
  if (region === undefined) {
    const count = client.device.regions.length
    throw new ErrnoError('EINVAL', `DEVICE_GET_REGION_INFO: index ${index} of ${count}`)
  }
  const { flags, capabilities, files } = offerOf(region, client.capabilities)
  const size = capabilities.reduce((sum, { length }) => sum + length, FIXED)
  const fits = size <= argsz
  if (fits && files.length > 0) client.attachFds(files.map((file) => file.share()))
  client.reserveReply(size)
  info.aim(client.reply, client.replyAt)
  info.argsz = size
  // In an answer without the capabilities QEMU does not stand the flag that says there are some.
  info.flags = region.flags | flags | (fits && size > FIXED ? vfio.VFIO_REGION_INFO_FLAG_CAPS : 0)
  info.index = index
  info.cap_offset = fits && size > FIXED ? FIXED : 0
  info.size = region.size
  info.offset = 0
  if (!fits) return FIXED
  let at = FIXED
  for (const [i, capability] of capabilities.entries()) {
    const next = at + capability.length
    client.replyBytes.set(capability, client.replyAt + at)
    header.aim(client.reply, client.replyAt + at)
    header.next = i === capabilities.length - 1 ? 0 : next
    at = next
  }
  return size
}

function offerOf(region: DeviceRegion, client: Capabilities | undefined): Offer {
  const mapping = mappingOf(region, client)
  const capabilities = [...mapping.capabilities]
  if (region.type !== undefined) {
    const { type, subtype } = region.type
    const body = vfio.VfioRegionInfoCapType.encode({ type, subtype })
    capabilities.push(capability(vfio.VFIO_REGION_INFO_CAP_TYPE, body))
  }
  // The areas leave the table and the pending bits out, so the client need not; it comes after them, as the first counts.
  if (region.holdsMsix && mapping !== NOT_MAPPED) {
    const body = new Uint8Array(vfio.VfioInfoCapHeader.size)
    capabilities.push(capability(vfio.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, body))
  }
  return { ...mapping, capabilities }
}

function mappingOf(region: DeviceRegion, client: Capabilities | undefined): Offer {
  const areas = region.memory?.mappable.filter(({ memory }) => memory.shareable) ?? []
  const maxFds = client?.max_msg_fds ?? 0
  const [first] = areas
  if (first === undefined || maxFds < 1) return NOT_MAPPED
  const flags = vfio.VFIO_REGION_INFO_FLAG_MMAP
  if (areas.length === 1 && first.size === region.size && first.fileOffset === 0)
    return { flags, capabilities: [], files: [first.memory] }
  const files = [...new Set(areas.map(({ memory }) => memory))]
  const plain = plainAreas(areas)
  if (plain.length < areas.length && client?.sparse_mmap_fds === true && files.length <= maxFds) {
    const body = sparseOfFiles(areas, files)
    return {
      flags,
      capabilities: [capability(wire.VFIO_USER_REGION_INFO_CAP_SPARSE_MMAP_FDS, body)],
      files,
    }
  }
  const [firstPlain] = plain
  if (firstPlain === undefined) return NOT_MAPPED
  return {
    flags,
    capabilities: [capability(vfio.VFIO_REGION_INFO_CAP_SPARSE_MMAP, sparse(plain))],
    files: [firstPlain.memory],
  }
}

/** Those that a client finds in one file, where they are in the region; QEMU takes no other. */
function plainAreas(areas: readonly MappableArea[]): readonly MappableArea[] {
  const first = areas.find(({ offset, fileOffset }) => offset === fileOffset)
  return areas.filter(
    ({ offset, fileOffset, memory }) => offset === fileOffset && memory === first?.memory,
  )
}

function sparse(areas: readonly MappableArea[]): Uint8Array {
  return Buffer.concat([
    vfio.VfioRegionInfoCapSparseMmap.encode({ nr_areas: areas.length }),
    ...areas.map(({ offset, size }) => vfio.VfioRegionSparseMmapArea.encode({ offset, size })),
  ])
}

function sparseOfFiles(areas: readonly MappableArea[], files: readonly MemoryFile[]): Uint8Array {
  return Buffer.concat([
    vfio.VfioRegionInfoCapSparseMmap.encode({ nr_areas: areas.length }),
    ...areas.map(({ offset, size, memory, fileOffset }) =>
      wire.VfioUserSparseMmapFdsArea.encode({
        offset,
        fd_offset: fileOffset,
        size,
        fd_index: files.indexOf(memory),
      }),
    ),
  ])
}

/** @param bytes room for the header, then what follows it */
function capability(id: number, bytes: Uint8Array): Uint8Array {
  const filled = Uint8Array.from(bytes)
  filled.set(vfio.VfioInfoCapHeader.encode({ id, version: CAPABILITY_VERSION }))
  return filled
}
