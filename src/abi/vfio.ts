/** Linux VFIO: numbers and layouts of <linux/vfio.h> that the vfio-user protocol takes over. */
import { struct } from '../lib/struct.ts'

/** Request and reply of VFIO_USER_DEVICE_GET_INFO; the kernel's struct goes on with capabilities. */
export const VfioDeviceInfo = struct('vfio_device_info', 16, {
  argsz: 'u32',
  flags: 'u32',
  num_regions: 'u32',
  num_irqs: 'u32',
})
export const VFIO_DEVICE_FLAGS_RESET = 1 << 0
export const VFIO_DEVICE_FLAGS_PCI = 1 << 1

export const VfioRegionInfo = struct('vfio_region_info', 32, {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  cap_offset: 'u32',
  size: 'size',
  offset: 'size',
})
export const VFIO_REGION_INFO_FLAG_READ = 1 << 0
export const VFIO_REGION_INFO_FLAG_WRITE = 1 << 1
export const VFIO_REGION_INFO_FLAG_MMAP = 1 << 2
export const VFIO_REGION_INFO_FLAG_CAPS = 1 << 3

export const VfioInfoCapHeader = struct('vfio_info_cap_header', 8, {
  id: 'u16',
  version: 'u16',
  next: 'u32',
})
export const VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1
/** {@link VfioRegionSparseMmapArea}s follow. */
export const VfioRegionInfoCapSparseMmap = struct('vfio_region_info_cap_sparse_mmap', 16, {
  _pad0: 'u64', // VfioInfoCapHeader
  nr_areas: 'u32',
  reserved: 'u32',
})
export const VfioRegionSparseMmapArea = struct('vfio_region_sparse_mmap_area', 16, {
  offset: 'size', // in the region
  size: 'size',
})
export const VFIO_REGION_INFO_CAP_TYPE = 2
export const VfioRegionInfoCapType = struct('vfio_region_info_cap_type', 16, {
  _pad0: 'u64', // VfioInfoCapHeader
  type: 'u32',
  subtype: 'u32',
})
export const VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3

export const VfioIrqInfo = struct('vfio_irq_info', 16, {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  count: 'u32',
})
export const VFIO_IRQ_INFO_EVENTFD = 1 << 0
export const VFIO_IRQ_INFO_MASKABLE = 1 << 1
export const VFIO_IRQ_INFO_AUTOMASKED = 1 << 2
export const VFIO_IRQ_INFO_NORESIZE = 1 << 3

export const VfioIrqSet = struct('vfio_irq_set', 20, {
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  start: 'u32',
  count: 'u32',
})
export const VFIO_IRQ_SET_DATA_NONE = 1 << 0
export const VFIO_IRQ_SET_DATA_BOOL = 1 << 1
export const VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2
export const VFIO_IRQ_SET_ACTION_MASK = 1 << 3
export const VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4
export const VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5
export const VFIO_IRQ_SET_DATA_TYPE_MASK =
  VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD
export const VFIO_IRQ_SET_ACTION_TYPE_MASK =
  VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER

export const VfioDeviceFeature = struct('vfio_device_feature', 8, { argsz: 'u32', flags: 'u32' })
export const VFIO_DEVICE_FEATURE_MASK = 0xffff
export const VFIO_DEVICE_FEATURE_GET = 1 << 16
export const VFIO_DEVICE_FEATURE_SET = 1 << 17
export const VFIO_DEVICE_FEATURE_PROBE = 1 << 18

/** Data of the feature MIGRATION. */
export const VFIO_DEVICE_FEATURE_MIGRATION = 1
export const VfioDeviceFeatureMigration = struct('vfio_device_feature_migration', 8, {
  flags: 'size',
})
export const VFIO_MIGRATION_STOP_COPY = 1 << 0
export const VFIO_MIGRATION_P2P = 1 << 1
export const VFIO_MIGRATION_PRE_COPY = 1 << 2

/** Data of the feature MIG_DEVICE_STATE. */
export const VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2
export const VfioDeviceFeatureMigState = struct('vfio_device_feature_mig_state', 8, {
  device_state: 'u32',
  data_fd: 's32', // unused in vfio-user
})
export const VFIO_DEVICE_STATE_ERROR = 0
export const VFIO_DEVICE_STATE_STOP = 1
export const VFIO_DEVICE_STATE_RUNNING = 2
export const VFIO_DEVICE_STATE_STOP_COPY = 3
export const VFIO_DEVICE_STATE_RESUMING = 4
export const VFIO_DEVICE_STATE_PRE_COPY = 6

/** Data of the feature DMA_LOGGING_START; {@link VfioDeviceFeatureDmaLoggingRange}s follow, where the kernel has a pointer. */
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6
export const VfioDeviceFeatureDmaLoggingControl = struct(
  'vfio_device_feature_dma_logging_control',
  16,
  { page_size: 'size', num_ranges: 'u32', __reserved: 'u32' },
)
export const VfioDeviceFeatureDmaLoggingRange = struct(
  'vfio_device_feature_dma_logging_range',
  16,
  { iova: 'size', length: 'size' },
)
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7
/** Data of the feature DMA_LOGGING_REPORT; the bitmap follows in the reply, where the kernel has a pointer. */
export const VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8
export const VfioDeviceFeatureDmaLoggingReport = struct(
  'vfio_device_feature_dma_logging_report',
  24,
  { iova: 'size', length: 'size', page_size: 'size' },
)

/** Region indexes of a PCI device; BAR n is region n. */
export const VFIO_PCI_BAR0_REGION_INDEX = 0
export const VFIO_PCI_BAR5_REGION_INDEX = 5
export const VFIO_PCI_ROM_REGION_INDEX = 6
export const VFIO_PCI_CONFIG_REGION_INDEX = 7
export const VFIO_PCI_VGA_REGION_INDEX = 8
export const VFIO_PCI_NUM_REGIONS = 9

/** Irq indexes of a PCI device. */
export const VFIO_PCI_INTX_IRQ_INDEX = 0
export const VFIO_PCI_MSI_IRQ_INDEX = 1
export const VFIO_PCI_MSIX_IRQ_INDEX = 2
export const VFIO_PCI_ERR_IRQ_INDEX = 3
export const VFIO_PCI_REQ_IRQ_INDEX = 4
export const VFIO_PCI_NUM_IRQS = 5
