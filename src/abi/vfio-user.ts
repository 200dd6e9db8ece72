/** The vfio-user protocol 0.1: numbers and layouts, in the order and with the names of its specification. */
import { struct } from '../lib/struct.ts'

export const VFIO_USER_MAJOR = 0
/** The newest minor that we speak; a reply never says more than the client asked for. */
export const VFIO_USER_MINOR = 2

export const VfioUserHeader = struct('vfio_user_header', 16, {
  msg_id: 'u16',
  command: 'u16',
  size: 'u32', // of the whole message, this header included
  flags: 'u32',
  error: 'u32',
})
export const VFIO_USER_F_TYPE_MASK = 0xf
export const VFIO_USER_F_TYPE_COMMAND = 0
export const VFIO_USER_F_TYPE_REPLY = 1
export const VFIO_USER_F_NO_REPLY = 1 << 4
export const VFIO_USER_F_ERROR = 1 << 5

export const VFIO_USER_VERSION = 1
export const VFIO_USER_DMA_MAP = 2
export const VFIO_USER_DMA_UNMAP = 3
export const VFIO_USER_DEVICE_GET_INFO = 4
export const VFIO_USER_DEVICE_GET_REGION_INFO = 5
export const VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6
export const VFIO_USER_DEVICE_GET_IRQ_INFO = 7
export const VFIO_USER_DEVICE_SET_IRQS = 8
export const VFIO_USER_REGION_READ = 9
export const VFIO_USER_REGION_WRITE = 10
export const VFIO_USER_DMA_READ = 11
export const VFIO_USER_DMA_WRITE = 12
export const VFIO_USER_DEVICE_RESET = 13
export const VFIO_USER_REGION_WRITE_MULTI = 15
export const VFIO_USER_DEVICE_FEATURE = 16
export const VFIO_USER_MIG_DATA_READ = 17
export const VFIO_USER_MIG_DATA_WRITE = 18

/** VFIO_USER_VERSION, both ways; then JSON, ended by one NUL. */
export const VfioUserVersion = struct('vfio_user_version', 4, { major: 'u16', minor: 'u16' })

/** VFIO_USER_DMA_MAP request. */
export const VfioUserDmaMap = struct('vfio_user_dma_map', 32, {
  argsz: 'u32',
  flags: 'u32',
  offset: 'size', // in the file
  addr: 'size', // iova
  size: 'size',
})
export const VFIO_USER_F_DMA_REGION_READ = 1 << 0
export const VFIO_USER_F_DMA_REGION_WRITE = 1 << 1

/** VFIO_USER_DMA_UNMAP, request and reply. */
export const VfioUserDmaUnmap = struct('vfio_user_dma_unmap', 24, {
  argsz: 'u32',
  flags: 'u32',
  addr: 'size', // iova
  size: 'size',
})
export const VFIO_USER_F_DMA_UNMAP_GET_DIRTY_BITMAP = 1 << 0
export const VFIO_USER_F_DMA_UNMAP_ALL = 1 << 1

/** Follows {@link VfioUserDmaUnmap} when the dirty bitmap is asked for. */
export const VfioUserBitmap = struct('vfio_user_bitmap', 16, { pgsize: 'size', size: 'size' })

/** VFIO_USER_REGION_READ and _WRITE, request and reply; data follows in a write request and in a read reply. */
export const VfioUserRegionAccess = struct('vfio_user_region_access', 16, {
  offset: 'size',
  region: 'u32',
  count: 'u32',
})

/** VFIO_USER_REGION_WRITE_MULTI, request and reply; {@link VfioUserWriteMultiEntry}s follow in the request. */
export const VfioUserWriteMulti = struct('vfio_user_write_multi', 8, { wr_cnt: 'size' })
export const VfioUserWriteMultiEntry = struct('vfio_user_wr_single', 24, {
  offset: 'size',
  region: 'u32',
  count: 'u32', // 1 to 8
  data: 'u64',
})

/** VFIO_USER_DMA_READ and _WRITE, ours to the client, request and reply. */
export const VfioUserDmaAccess = struct('vfio_user_dma_access', 16, { addr: 'size', count: 'size' })

/** Most bytes of QEMU's VERSION reply buffer, header included: it receives into its request (QEMU 11.1). */
export const QEMU_MAX_VERSION_REPLY = 214
