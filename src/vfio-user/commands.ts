/** The commands of the protocol, client to server: one table, by which dispatch, limits and log lines go. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import type { Container } from '../iommu/container.ts'
import type { Clock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import { inTime } from '../lib/within.ts'
import type { Command } from './command.ts'
import { dmaUnmapWithBitmap } from './dirty-bitmap.ts'
import { deviceFeature } from './features.ts'
import type { Message } from './frame.ts'
import { migDataRead, migDataWrite } from './migration.ts'
import { getRegionInfo } from './region-info.ts'
import type { ServedClient } from './served-client.ts'
import { OUR_CAPABILITIES, version } from './version.ts'

export const COMMANDS: ReadonlyMap<number, Command> = new Map([
  [wire.VFIO_USER_VERSION, command('VERSION', wire.VfioUserVersion.size, 0, version)],
  [wire.VFIO_USER_DMA_MAP, command('DMA_MAP', wire.VfioUserDmaMap.size, 1, dmaMap)],
  // SPDK sends the map's fd again; it is closed
  [wire.VFIO_USER_DMA_UNMAP, command('DMA_UNMAP', wire.VfioUserDmaUnmap.size, 1, dmaUnmap)],
  [
    wire.VFIO_USER_DEVICE_GET_INFO,
    command('DEVICE_GET_INFO', vfio.VfioDeviceInfo.size, 0, getInfo),
  ],
  [
    wire.VFIO_USER_DEVICE_GET_REGION_INFO,
    command('DEVICE_GET_REGION_INFO', vfio.VfioRegionInfo.size, 0, getRegionInfo),
  ],
  [
    wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS,
    command('DEVICE_GET_REGION_IO_FDS', wire.VfioUserRegionIoFds.size, 0, getRegionIoFds),
  ],
  [
    wire.VFIO_USER_DEVICE_GET_IRQ_INFO,
    command('DEVICE_GET_IRQ_INFO', vfio.VfioIrqInfo.size, 0, getIrqInfo),
  ],
  [
    wire.VFIO_USER_DEVICE_SET_IRQS,
    command('DEVICE_SET_IRQS', vfio.VfioIrqSet.size, OUR_CAPABILITIES.max_msg_fds, setIrqs),
  ],
  [
    wire.VFIO_USER_REGION_READ,
    command('REGION_READ', wire.VfioUserRegionAccess.size, 0, regionRead),
  ],
  [
    wire.VFIO_USER_REGION_WRITE,
    command('REGION_WRITE', wire.VfioUserRegionAccess.size, 0, regionWrite),
  ],
  [
    wire.VFIO_USER_REGION_WRITE_MULTI,
    command('REGION_WRITE_MULTI', wire.VfioUserWriteMulti.size, 0, regionWriteMulti),
  ],
  [wire.VFIO_USER_DEVICE_RESET, command('DEVICE_RESET', 0, 0, deviceReset)],
  [
    wire.VFIO_USER_DEVICE_FEATURE,
    command('DEVICE_FEATURE', vfio.VfioDeviceFeature.size, 0, deviceFeature),
  ],
  [
    wire.VFIO_USER_MIG_DATA_READ,
    command('MIG_DATA_READ', wire.VfioUserMigData.size, 0, migDataRead),
  ],
  [
    wire.VFIO_USER_MIG_DATA_WRITE,
    command('MIG_DATA_WRITE', wire.VfioUserMigData.size, 0, migDataWrite),
  ],
])

function command(name: string, minPayload: number, maxFds: number, run: Command['run']): Command {
  return { name, minPayload, maxFds, run }
}

/** Cursors over the message at hand; commands run one at a time. */
const dmaMapView = wire.VfioUserDmaMap.view()
const dmaUnmapView = wire.VfioUserDmaUnmap.view()
const deviceInfo = vfio.VfioDeviceInfo.view()
const irqInfo = vfio.VfioIrqInfo.view()
const access = wire.VfioUserRegionAccess.view()
const writeMulti = wire.VfioUserWriteMulti.view()
const writeEntry = wire.VfioUserWriteMultiEntry.view()

/** Smaller ranges without a file are ROMs, and other devices' BARs; so are large ones of a client that shares its memory. */
const LIKELY_RAM = 16 * 1024 * 1024

const DMA_RIGHTS = wire.VFIO_USER_F_DMA_REGION_READ | wire.VFIO_USER_F_DMA_REGION_WRITE

function dmaMap(client: ServedClient, request: Message): number {
  const { argsz, flags, offset, addr, size } = dmaMapView.aim(request.view, request.at)
  if (request.length !== wire.VfioUserDmaMap.size || argsz < wire.VfioUserDmaMap.size) {
    throw invalid(`DMA_MAP: payload ${request.length}, argsz ${argsz}`)
  }
  if ((flags & ~DMA_RIGHTS) !== 0) throw invalid(`DMA_MAP: flags ${hex(flags)}`)
  const hasFile = request.fds.length > 0
  const writable = (flags & wire.VFIO_USER_F_DMA_REGION_WRITE) !== 0
  if (!hasFile && writable && size >= LIKELY_RAM && !client.container.hasFiles)
    client.adviseSharedMemory()
  client.container.map({
    iova: addr,
    size,
    readable: (flags & wire.VFIO_USER_F_DMA_REGION_READ) !== 0,
    writable,
    ...(hasFile ? { file: { fd: request.takeFd(), offset } } : {}),
  })
  client.stats.dmaMaps++
  return 0
}

function dmaUnmap(client: ServedClient, request: Message): number | Promise<Uint8Array> {
  const { argsz, flags, addr, size } = dmaUnmapView.aim(request.view, request.at)
  if (flags === wire.VFIO_USER_F_DMA_UNMAP_GET_DIRTY_BITMAP)
    return dmaUnmapWithBitmap(client, request)
  if (request.length !== wire.VfioUserDmaUnmap.size || argsz < wire.VfioUserDmaUnmap.size) {
    throw invalid(`DMA_UNMAP: payload ${request.length}, argsz ${argsz}`)
  }
  const all = flags === wire.VFIO_USER_F_DMA_UNMAP_ALL
  const gone = unmap(client.container, flags, addr, size)
  client.stats.dmaUnmaps++
  if (typeof gone === 'number') {
    echo(client, request, wire.VfioUserDmaUnmap.size)
    if (!all) dmaUnmapView.aim(client.reply, client.replyAt).size = BigInt(gone) // as type1 tells it
    return wire.VfioUserDmaUnmap.size
  }
  const reply = request.payload()
  return gone.then((length) => {
    if (!all) wire.VfioUserDmaUnmap.view().aim(dataViewOf(reply)).size = BigInt(length)
    return reply
  })
}

function unmap(
  container: Container,
  flags: number,
  iova: bigint,
  size: bigint,
): number | Promise<number> {
  if (flags === wire.VFIO_USER_F_DMA_UNMAP_ALL) {
    if (iova !== 0n || size !== 0n) throw invalid('DMA_UNMAP: ALL with an address or size')
    return container.unmapAll()
  }
  if (flags !== 0) throw invalid(`DMA_UNMAP: flags ${hex(flags)}`)
  if (iova + size > END_OF_IOVA) throw invalid(`DMA_UNMAP ${hex(iova)}+${hex(size)}: wraps`)
  if (iova >= END_OF_MAPS && (iova | size) % 4096n === 0n && size > 0n) return 0
  const end = iova + size < END_OF_MAPS ? iova + size : END_OF_MAPS
  return container.unmap(Number(iova), Number(end - iova))
}

const END_OF_IOVA = 2n ** 64n
/** No map is beyond 2^53; a range may be. */
const END_OF_MAPS = 2n ** 53n - 4096n

function getInfo(client: ServedClient, request: Message): number {
  const { argsz } = deviceInfo.aim(request.view, request.at)
  if (argsz < vfio.VfioDeviceInfo.size) throw invalid(`DEVICE_GET_INFO: argsz ${argsz}`)
  deviceInfo.aim(client.reply, client.replyAt)
  deviceInfo.argsz = vfio.VfioDeviceInfo.size
  deviceInfo.flags = client.device.flags
  deviceInfo.num_regions = client.device.regions.length
  deviceInfo.num_irqs = client.device.irqs.length
  return vfio.VfioDeviceInfo.size
}

function getRegionIoFds(client: ServedClient, request: Message): number {
  return client.ioFds.answer(client, request)
}

function getIrqInfo(client: ServedClient, request: Message): number {
  const { argsz, index } = irqInfo.aim(request.view, request.at)
  if (argsz < vfio.VfioIrqInfo.size) throw invalid(`DEVICE_GET_IRQ_INFO: argsz ${argsz}`)
  const irq = client.device.irqs[index]
  if (irq === undefined)
    throw invalid(`DEVICE_GET_IRQ_INFO: index ${index} of ${client.device.irqs.length}`)
  irqInfo.aim(client.reply, client.replyAt)
  irqInfo.argsz = vfio.VfioIrqInfo.size
  irqInfo.flags = irq.flags
  irqInfo.index = index
  irqInfo.count = irq.count
  return vfio.VfioIrqInfo.size
}

function setIrqs(client: ServedClient, request: Message): number {
  client.irqs.set(request)
  return 0
}

function regionRead(client: ServedClient, request: Message): number {
  access.aim(request.view, request.at)
  const { offset, region, count } = access
  checkTransfer('REGION_READ', count)
  if (request.length !== wire.VfioUserRegionAccess.size)
    throw invalid(`REGION_READ: payload ${request.length}`)
  const size = wire.VfioUserRegionAccess.size + count
  client.reserveReply(size)
  regionOf(client, region).read(
    client.reply,
    client.replyAt + wire.VfioUserRegionAccess.size,
    offset,
    count,
  )
  client.stats.regionReads++
  echo(client, request, wire.VfioUserRegionAccess.size)
  return size
}

function regionWrite(client: ServedClient, request: Message): number {
  access.aim(request.view, request.at)
  const { offset, region, count } = access
  checkTransfer('REGION_WRITE', count)
  if (request.length !== wire.VfioUserRegionAccess.size + count) {
    throw invalid(`REGION_WRITE: payload ${request.length} for ${count} bytes`)
  }
  regionOf(client, region).write(
    request.view,
    request.at + wire.VfioUserRegionAccess.size,
    offset,
    count,
  )
  client.stats.regionWrites++
  return echo(client, request, wire.VfioUserRegionAccess.size)
}

/** Most bytes of an entry of REGION_WRITE_MULTI. */
const MAX_ENTRY = 8

function regionWriteMulti(client: ServedClient, request: Message): number {
  if (client.capabilities?.write_multiple !== true)
    throw invalid('REGION_WRITE_MULTI: not negotiated')
  const { wr_cnt: count } = writeMulti.aim(request.view, request.at)
  const entries =
    (request.length - wire.VfioUserWriteMulti.size) / wire.VfioUserWriteMultiEntry.size
  if (entries !== count) throw invalid(`REGION_WRITE_MULTI: ${entries} entries, ${count} announced`)
  for (let i = 0; i < entries; i++) {
    const at = request.at + wire.VfioUserWriteMulti.size + i * wire.VfioUserWriteMultiEntry.size
    writeEntry.aim(request.view, at)
    const { offset, region, count: length } = writeEntry
    if (length < 1 || length > MAX_ENTRY)
      throw invalid(`REGION_WRITE_MULTI: entry of ${length} bytes`)
    const data = at + wire.VfioUserWriteMultiEntry.offsets.data
    regionOf(client, region).write(request.view, data, offset, length)
    client.stats.regionWrites++
  }
  return echo(client, request, wire.VfioUserWriteMulti.size)
}

function deviceReset(client: ServedClient, request: Message): number | Promise<Uint8Array> {
  if (request.length !== 0) throw invalid(`DEVICE_RESET: payload ${request.length}`)
  client.device.reset('device')
  const under = client.device.quiesce()
  client.device.migration?.reset()
  client.stats.resets++
  return under instanceof Promise ? endOf(under, client.clock) : 0
}

/** QEMU gives up on a reply after 5 s. */
const RESET_PATIENCE_MS = 3000

/** Waits for the end of what a reset has left under way, but not for ever. @returns no payload */
async function endOf(work: Promise<void>, clock: Pick<Clock, 'after'>): Promise<Uint8Array> {
  // what it says is logged where it is known
  await inTime(work, 'DEVICE_RESET', RESET_PATIENCE_MS, clock).catch(() => {})
  return new Uint8Array(0)
}

function regionOf(client: ServedClient, index: number) {
  const region = client.device.regions[index]
  if (region === undefined || region.size === 0) throw invalid(`region ${index}: not there`)
  return region
}

function checkTransfer(name: string, count: number): void {
  if (count > OUR_CAPABILITIES.max_data_xfer_size) throw invalid(`${name}: ${count} bytes`)
}

/** Answers with the first `size` bytes of the request. */
function echo(client: ServedClient, request: Message, size: number): number {
  const { reply, replyAt } = client
  for (let i = 0; i < size; i += 8) {
    reply.setUint32(replyAt + i, request.view.getUint32(request.at + i, true), true)
    reply.setUint32(replyAt + i + 4, request.view.getUint32(request.at + i + 4, true), true)
  }
  return size
}

function invalid(message: string): ErrnoError {
  return new ErrnoError('EINVAL', message)
}
