/** Bitmaps of the pages that a device has written: how they are asked for, bounded and answered. */
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { Message } from './frame.ts'
import type { ServedClient } from './served-client.ts'
import { MAX_BITMAP_SIZE } from './version.ts'

/** What of which map is asked for, and where the bitmap goes. */
export interface BitmapRequest {
  readonly iova: number
  readonly size: number
  readonly pageSize: number
  /** Bytes of the reply before the bitmap. */
  readonly prefix: number
  /** What the client has room for: all of the reply. */
  readonly argsz: number
}

/**
 * Bytes of the bitmap, once it is certain that it can be had.
 *
 * @throws EINVAL larger than either side takes, or than argsz · and as {@link Container.dirtyBitmapSize}
 */
export function bitmapSizeOf(client: ServedClient, request: BitmapRequest): number {
  const { iova, size, pageSize, prefix, argsz } = request
  const length = client.container.dirtyBitmapSize(iova, size, pageSize)
  const most = Math.min(
    MAX_BITMAP_SIZE,
    client.capabilities?.migration?.max_bitmap_size ?? MAX_BITMAP_SIZE,
  )
  const what = `dirty pages of ${hex(iova)}+${hex(size)}`
  if (length > most) throw invalid(`${what}: a bitmap of ${length} bytes, ${most} are the most`)
  if (argsz < prefix + length) throw invalid(`${what}: argsz ${argsz} for ${prefix + length} bytes`)
  return length
}

/** Makes the reply, with its bitmap; the prefix is left to the caller. @throws as {@link bitmapSizeOf} */
export function replyWithBitmap(client: ServedClient, request: BitmapRequest): Uint8Array {
  const { iova, size, pageSize, prefix } = request
  const reply = client.replyRoom(prefix + bitmapSizeOf(client, request))
  client.container.takeDirty(iova, size, pageSize, reply.subarray(prefix))
  return reply
}

const unmap = wire.VfioUserDmaUnmap.view()
const bitmap = wire.VfioUserBitmap.view()
const FIXED = wire.VfioUserDmaUnmap.size + wire.VfioUserBitmap.size

/** VFIO_USER_DMA_UNMAP with the flag GET_DIRTY_BITMAP alone. */
export function dmaUnmapWithBitmap(
  client: ServedClient,
  request: Message,
): number | Promise<Uint8Array> {
  if (request.length !== FIXED) throw invalid(`DMA_UNMAP: payload ${request.length}, not ${FIXED}`)
  const { argsz, addr: addr64, size: size64 } = unmap.aim(request.view, request.at)
  const [addr, size] = [Number(addr64), Number(size64)] // rounded, where it is of no map anyway
  bitmap.aim(request.view, request.at + wire.VfioUserDmaUnmap.size)
  const { pgsize } = bitmap
  const length = bitmapSizeOf(client, { iova: addr, size, pageSize: pgsize, prefix: FIXED, argsz })
  if (bitmap.size !== length)
    throw invalid(`DMA_UNMAP: a bitmap of ${bitmap.size} bytes, ${length} are right`)
  const fixed = request.payload()
  const fill = (reply: Uint8Array) => {
    reply.set(fixed)
    client.container.takeDirty(addr, size, pgsize, reply.subarray(FIXED))
    void client.container.unmap(addr, size) // at once: nothing is under way any more
  }
  // What is under way writes until its end, which the bitmap has to show.
  const busy = client.container.quiesce(addr, size)
  client.stats.dmaUnmaps++
  if (busy === undefined) {
    fill(client.replyRoom(FIXED + length))
    return FIXED + length
  }
  return busy.then(() => {
    const reply = new Uint8Array(FIXED + length)
    fill(reply)
    return reply
  })
}

function invalid(message: string): ErrnoError {
  return new ErrnoError('EINVAL', message)
}
