/** Regions as a client finds them: what they are, and what of them it maps. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import { Unwind } from '../lib/unwind.ts'
import { closeFds } from '../os/fd.ts'
import { Arena, PAGE_SIZE } from '../os/arena.ts'
import { ClientDoorbells, openDoorbells, type Poster } from './client-doorbells.ts'
import { broken, mapFile } from './client-files.ts'

export interface RegionArea {
  /** In the region, bytes. */
  readonly offset: number
  readonly size: number
}

export interface RegionInfo {
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly flags: number
  /** Bytes; 0 for a region that is not there. */
  readonly size: number
  /** What of it can be mapped; not there where that is all, or nothing, as the flags say. */
  readonly areas?: readonly RegionArea[]
  /** What a region of the device's own is. */
  readonly type?: { readonly type: number; readonly subtype: number }
  /** There where the MSI-X table in this region is no reason not to map it. */
  readonly msixMappable?: true
}

/** A part of a region, mapped. */
export interface MappedArea {
  /** In the region, bytes. */
  readonly offset: number
  /** Shared with the device. Of a region that is read only: stores do not reach it. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

export interface MappedRegion {
  readonly areas: readonly MappedArea[]
  /** The bytes read zeros afterwards. Idempotent; detaching does it too. */
  unmap(): void
}

/** What came back, as the client has it. */
interface Answer {
  readonly payload: Uint8Array
  /** The receiver's to close. */
  readonly fds: readonly number[]
}

/** What of a client is needed here. */
interface Requester extends Poster {
  /** @throws the errno of a refusal */
  requestFds(command: number, payload: Uint8Array, maxReplyFds: number): Promise<Answer>
}

/** Where an area is to be found. */
interface FileArea extends RegionArea {
  readonly fdIndex: number
  readonly fileOffset: number
}

interface Region {
  readonly info: RegionInfo
  readonly files: readonly FileArea[]
}

/** Most bytes of an answer, whatever a server says that it needs. */
const MAX_ANSWER = 64 * 1024
/** Most fds of an answer: what we tell the server in VERSION. */
const MAX_FDS = 16
/** How servers refuse a command that they do not know. */
const UNKNOWN: ReadonlySet<string> = new Set(['EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'ENOTTY'])

/** All that one client has of its device's regions. */
export class ClientRegions {
  readonly #client: Requester
  readonly #arena = new Arena()
  /** What is given back when the client detaches. */
  readonly #open = new Set<Unwind>()
  #ended = false

  constructor(client: Requester) {
    this.#client = client
  }

  /** @see Client.regionInfo */
  async info(index: number): Promise<RegionInfo> {
    const { payload, fds } = await this.#askInfo(index)
    closeFds(fds)
    return parseRegion(index, payload).info
  }

  /** @see Client.mapRegion */
  async map(index: number): Promise<MappedRegion> {
    const { payload, fds } = await this.#askInfo(index)
    const mapped = new Unwind()
    try {
      const { info, files } = parseRegion(index, payload)
      if ((info.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP) === 0 || fds.length === 0)
        throw new ErrnoError('EOPNOTSUPP', `region ${index}: not to be mapped`)
      const writable = (info.flags & vfio.VFIO_REGION_INFO_FLAG_WRITE) !== 0
      const areas = files.map(({ offset, size, fdIndex, fileOffset }) => {
        const what = `region ${index}: area ${hex(offset)}+${hex(size)}`
        const fd = fds[fdIndex]
        if (fd === undefined) throw broken(`${what}: fd ${fdIndex} of ${fds.length}`)
        const mapping = mapFile(this.#arena, what, fd, fileOffset, size, writable)
        mapped.defer(() => mapping.unmap())
        return { offset, bytes: mapping.bytes.subarray(0, size) }
      })
      return { areas, unmap: this.#keep(mapped) }
    } catch (error) {
      mapped[Symbol.dispose]()
      throw error
    } finally {
      closeFds(fds) // a mapping keeps its file
    }
  }

  /** @see Client.doorbells */
  async doorbells(index: number): Promise<ClientDoorbells> {
    const { payload, fds } = await this.#askIoFds(index)
    const opened = new Unwind()
    try {
      const doorbells = openDoorbells(this.#arena, index, payload, fds, opened)
      return new ClientDoorbells(this.#client, index, doorbells, this.#keep(opened))
    } catch (error) {
      opened[Symbol.dispose]()
      throw error
    }
  }

  /** The connection has ended. */
  close(): void {
    this.#ended = true
    for (const open of this.#open) open[Symbol.dispose]()
    this.#open.clear()
  }

  /** @returns what gives it back, if detaching has not */
  #keep(open: Unwind): () => void {
    this.#open.add(open)
    return () => {
      this.#open.delete(open)
      open[Symbol.dispose]()
    }
  }

  async #askInfo(index: number): Promise<Answer> {
    return this.#ask(
      wire.VFIO_USER_DEVICE_GET_REGION_INFO,
      (argsz) => vfio.VfioRegionInfo.encode({ argsz, index }),
      vfio.VfioRegionInfo.size,
    )
  }

  async #askIoFds(index: number): Promise<Answer> {
    try {
      return await this.#ask(
        wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS,
        (argsz) => wire.VfioUserRegionIoFds.encode({ argsz, index }),
        wire.VfioUserRegionIoFds.size,
      )
    } catch (error) {
      const mayBeUnknown = error instanceof ErrnoError && UNKNOWN.has(error.code)
      if (!mayBeUnknown || (await this.info(index)).size === 0) throw error
      return { payload: wire.VfioUserRegionIoFds.encode({}), fds: [] }
    }
  }

  /** Asks, and again with the room that the server says it needs. @throws EPROTO */
  async #ask(
    command: number,
    request: (argsz: number) => Uint8Array,
    fixed: number,
  ): Promise<Answer> {
    let room = fixed
    for (let attempt = 0; attempt < 2; attempt++) {
      const answer = await this.#client.requestFds(command, request(room), MAX_FDS)
      const { payload, fds } = answer
      const needed = payload.length < fixed ? Infinity : dataViewOf(payload).getUint32(0, true)
      if (needed <= room && !this.#ended) return answer
      closeFds(fds)
      if (this.#ended) throw new ErrnoError('ECONNRESET', 'vfio-user client: detached')
      if (needed > MAX_ANSWER)
        throw broken(`command ${command}: ${payload.length} bytes, argsz ${needed}`)
      room = needed
    }
    throw broken(`command ${command}: ${room} bytes were not enough`)
  }
}

/** @throws EPROTO what the server says is not true, or not safe to use */
function parseRegion(index: number, payload: Uint8Array): Region {
  const data = dataViewOf(payload)
  const { flags, cap_offset, size, offset: base } = vfio.VfioRegionInfo.view().aim(data)
  const hasCapabilities = (flags & vfio.VFIO_REGION_INFO_FLAG_CAPS) !== 0
  const info: { -readonly [K in keyof RegionInfo]: RegionInfo[K] } = { flags, size }
  let files: readonly FileArea[] | undefined
  for (const { id, at } of hasCapabilities ? capabilitiesOf(index, data, cap_offset) : []) {
    if (id === vfio.VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
      files = readAreas(index, data, at, vfio.VfioRegionSparseMmapArea.size, (area) => {
        const { offset, size } = vfio.VfioRegionSparseMmapArea.view().aim(data, area)
        return { offset, size, fdIndex: 0, fileOffset: base + offset }
      })
    } else if (id === wire.VFIO_USER_REGION_INFO_CAP_SPARSE_MMAP_FDS) {
      files = readAreas(index, data, at, wire.VfioUserSparseMmapFdsArea.size, (area) => {
        const view = wire.VfioUserSparseMmapFdsArea.view().aim(data, area)
        const { offset, size, fd_index: fdIndex, fd_offset: fileOffset } = view
        return { offset, size, fdIndex, fileOffset }
      })
    } else if (id === vfio.VFIO_REGION_INFO_CAP_TYPE) {
      const { type, subtype } = vfio.VfioRegionInfoCapType.view().aim(data, at)
      info.type = { type, subtype }
    } else if (id === vfio.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE) {
      info.msixMappable = true
    }
  }
  if (files === undefined)
    return { info, files: [{ offset: 0, size, fdIndex: 0, fileOffset: base }] }
  checkAreas(index, size, files)
  info.areas = files.map(({ offset, size }) => ({ offset, size }))
  return { info, files }
}

/** Walks the chain. @throws EPROTO it leaves the answer, or goes back, which a circle must */
function* capabilitiesOf(
  index: number,
  data: DataView,
  first: number,
): Generator<{ readonly id: number; readonly at: number }> {
  const header = vfio.VfioInfoCapHeader.view()
  let end: number = vfio.VfioRegionInfo.size
  for (let at = first; at !== 0;) {
    if (at < end || at + vfio.VfioInfoCapHeader.size > data.byteLength)
      throw broken(`region ${index}: capability at ${at} of ${data.byteLength} bytes`)
    end = at + vfio.VfioInfoCapHeader.size
    const { id, next } = header.aim(data, at)
    yield { id, at }
    at = next
  }
}

function readAreas(
  index: number,
  data: DataView,
  at: number,
  areaSize: number,
  read: (at: number) => FileArea,
): readonly FileArea[] {
  const { size } = vfio.VfioRegionInfoCapSparseMmap
  const left = data.byteLength - at - size
  const count = left < 0 ? 0 : vfio.VfioRegionInfoCapSparseMmap.view().aim(data, at).nr_areas
  if (count === 0 || count * areaSize > left)
    throw broken(`region ${index}: ${count} areas in ${Math.max(0, left)} bytes`)
  return Array.from({ length: count }, (_, i) => read(at + size + i * areaSize))
}

/** @throws EPROTO areas that are no whole pages, empty, outside of the region, or overlap */
function checkAreas(index: number, regionSize: number, areas: readonly FileArea[]): void {
  let end = 0
  for (const { offset, size } of areas.toSorted((a, b) => a.offset - b.offset)) {
    const isWhole = size > 0 && offset % PAGE_SIZE === 0 && size % PAGE_SIZE === 0
    if (!isWhole || offset < end || size > regionSize || offset > regionSize - size)
      throw broken(`region ${index}: area ${hex(offset)}+${hex(size)} of ${hex(regionSize)}`)
    end = offset + size
  }
}
