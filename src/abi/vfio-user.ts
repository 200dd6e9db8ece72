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

/** VFIO_USER_DMA_UNMAP, request and reply. Not of kind size: QEMU unmaps up to the end of the address space. */
export const VfioUserDmaUnmap = struct('vfio_user_dma_unmap', 24, {
  argsz: 'u32',
  flags: 'u32',
  addr: 'u64', // iova
  size: 'u64',
})
export const VFIO_USER_F_DMA_UNMAP_GET_DIRTY_BITMAP = 1 << 0
export const VFIO_USER_F_DMA_UNMAP_ALL = 1 << 1

/** Follows {@link VfioUserDmaUnmap} when the dirty bitmap is asked for. */
export const VfioUserBitmap = struct('vfio_user_bitmap', 16, { pgsize: 'size', size: 'size' })

/**
 * A capability of VFIO_USER_DEVICE_GET_REGION_INFO, for clients with `sparse_mmap_fds`: areas of several files. It is laid out
 * as VfioRegionInfoCapSparseMmap, but for the areas.
 */
export const VFIO_USER_REGION_INFO_CAP_SPARSE_MMAP_FDS = 0x8001
export const VfioUserSparseMmapFdsArea = struct('vfio_user_sparse_mmap_fds_area', 32, {
  offset: 'size', // in the region
  fd_offset: 'size', // in the file
  size: 'size',
  fd_index: 'u32',
  _pad0: 'u32',
})

/** VFIO_USER_DEVICE_GET_REGION_IO_FDS, request and reply; {@link VfioUserSubRegionIoeventfd}s follow in the reply. */
export const VfioUserRegionIoFds = struct('vfio_user_region_io_fds', 16, {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  count: 'u32',
})
/** As libvfio-user has it; entries without a shadow may end before `datamatch`, and have theirs at `shadow_offset`. */
export const VfioUserSubRegionIoeventfd = struct('vfio_user_sub_region_ioeventfd', 48, {
  offset: 'size', // in the region
  size: 'size',
  fd_index: 'u32',
  type: 'u32',
  flags: 'u32',
  shadow_mem_fd_index: 'u32',
  shadow_offset: 'size',
  datamatch: 'u64',
})
export const VFIO_USER_IO_FD_TYPE_IOEVENTFD = 0
export const VFIO_USER_IO_FD_TYPE_IOREGIONFD = 1
export const VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW = 2
/** Flags of an ioeventfd, as <linux/kvm.h> has them. */
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1 << 0
export const KVM_IOEVENTFD_FLAG_PIO = 1 << 1

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

/** VFIO_USER_MIG_DATA_READ and _WRITE, request and the reply to a read; data follows in that and in a write. */
export const VfioUserMigData = struct('vfio_user_mig_data', 8, { argsz: 'u32', size: 'u32' })

/** Most bytes of QEMU's VERSION reply buffer, header included: it receives into its request (QEMU 11.1). */
export const QEMU_MAX_VERSION_REPLY = 214
