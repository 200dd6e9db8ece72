/** What Identify tells (5.15.2): of the controller, and of the namespace. */
import type { Namespace } from './namespace.ts'
import { NAMESPACE_ID } from './namespace.ts'
import { page } from './page.ts'
import { CQES, IDENTIFY_SIZE, NIDT_UUID, SQES, VERSION_1_4 } from './spec.ts'

/** Who the controller says it is. */
export interface ControllerIdentity {
  /** Of the mdev. */
  readonly uuid: string
  /** PCI ids. */
  readonly vendor: number
  readonly subsystemVendor: number
  /** ASCII, at most 20 characters. */
  readonly serial: string
  /** ASCII, at most 40 characters. */
  readonly model: string
  /** ASCII, at most 8 characters. */
  readonly firmware: string
}

export interface ControllerLimits {
  /** Largest transfer, as a power of two of 4096 bytes. */
  readonly maxTransferPower: number
  /** Commands that may wait for asynchronous events. */
  readonly asyncEvents: number
  /** Abort commands that may be under way. */
  readonly aborts: number
  /** Entries of the error log. */
  readonly errors: number
}

/** A virtual device has the IEEE's number for local use. */
const OUI = Uint8Array.of(0x00, 0x54, 0x52)
const IO_CONTROLLER = 1
const EXTENDED_HOST_ID = 1 << 0
const OACS_FORMAT = 1 << 1
const OACS_DOORBELL_BUFFERS = 1 << 8
/** One slot, which is read-only. */
const FIRMWARE_SLOTS = (1 << 1) | 1
/** The commands' effects, and pages of any length from anywhere. */
const LOG_ATTRIBUTES = (1 << 1) | (1 << 2)
const ONCS_COMPARE = 1 << 0
const ONCS_DATASET_MANAGEMENT = 1 << 2
const ONCS_WRITE_ZEROES = 1 << 3
/** Features can be asked for their defaults and capabilities, although none can be saved. */
const ONCS_SELECT = 1 << 4
const ONCS_TIMESTAMP = 1 << 6
const OPTIONAL_COMMANDS =
  ONCS_COMPARE | ONCS_DATASET_MANAGEMENT | ONCS_WRITE_ZEROES | ONCS_SELECT | ONCS_TIMESTAMP
/** Present; flushed for one namespace or all. */
const WRITE_CACHE = 0b111
/** Of any alignment and length. */
const SGLS = 0b01
/** Kelvin. */
const WARNING_TEMPERATURE = 343
const CRITICAL_TEMPERATURE = 373

/** Identify Controller (figure 247). */
export function identifyController(
  identity: ControllerIdentity,
  limits: ControllerLimits,
): Uint8Array {
  const { uuid, vendor, subsystemVendor, serial, model, firmware } = identity
  return page(IDENTIFY_SIZE, [
    [0, 'u16', vendor], // VID
    [2, 'u16', subsystemVendor], // SSVID
    [4, 'text', serial, 20], // SN
    [24, 'text', model, 40], // MN
    [64, 'text', firmware, 8], // FR
    [73, 'bytes', OUI], // IEEE
    [77, 'u8', limits.maxTransferPower], // MDTS
    [78, 'u16', 1], // CNTLID
    [80, 'u32', VERSION_1_4], // VER
    [96, 'u32', EXTENDED_HOST_ID], // CTRATT
    [111, 'u8', IO_CONTROLLER], // CNTRLTYPE
    [256, 'u16', OACS_FORMAT | OACS_DOORBELL_BUFFERS], // OACS
    [258, 'u8', limits.aborts - 1], // ACL
    [259, 'u8', limits.asyncEvents - 1], // AERL
    [260, 'u8', FIRMWARE_SLOTS], // FRMW
    [261, 'u8', LOG_ATTRIBUTES], // LPA
    [262, 'u8', limits.errors - 1], // ELPE
    [266, 'u16', WARNING_TEMPERATURE], // WCTEMP
    [268, 'u16', CRITICAL_TEMPERATURE], // CCTEMP
    [512, 'u8', SQES * 0x11], // SQES: smallest and largest
    [513, 'u8', CQES * 0x11], // CQES
    [516, 'u32', NAMESPACE_ID], // NN
    [520, 'u16', OPTIONAL_COMMANDS], // ONCS
    [525, 'u8', WRITE_CACHE], // VWC
    [536, 'u32', SGLS], // SGLS
    [768, 'bytes', Buffer.from(`nqn.2014-08.org.nvmexpress:uuid:${uuid}`, 'ascii')], // SUBNQN
  ])
}

/** Deallocated blocks read as zeros, and Write Zeroes may deallocate. */
const DEALLOCATE_FEATURES = 0b001 | (1 << 3)
const WRITE_PROTECTED = 1 << 0

/** Identify Namespace (figure 245). */
export function identifyNamespace({ size, blockSize, slice }: Namespace): Uint8Array {
  return page(IDENTIFY_SIZE, [
    [0, 'u64', size], // NSZE
    [8, 'u64', size], // NCAP
    [16, 'u64', size], // NUSE
    [33, 'u8', DEALLOCATE_FEATURES], // DLFEAT
    [99, 'u8', slice.readOnly ? WRITE_PROTECTED : 0], // NSATTR
    [128, 'u32', Math.log2(blockSize) * 0x1_0000], // LBAF0: LBADS
  ])
}

/** The list of active namespaces after `nsid`. */
export function activeNamespaces(nsid: number): Uint8Array {
  return page(IDENTIFY_SIZE, nsid < NAMESPACE_ID ? [[0, 'u32', NAMESPACE_ID]] : [])
}

/** The namespace's names: its UUID, which is the mdev's. */
export function namespaceDescriptors(uuid: string): Uint8Array {
  return page(IDENTIFY_SIZE, [
    [0, 'u8', NIDT_UUID],
    [1, 'u8', 16],
    [4, 'bytes', Buffer.from(uuid.replaceAll('-', ''), 'hex')],
  ])
}
