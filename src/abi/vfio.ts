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
export const VFIO_REGION_INFO_CAP_TYPE = 2
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
