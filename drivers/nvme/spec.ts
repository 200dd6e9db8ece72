/** Numbers of the NVM Express Base Specification 1.4, by its figures. Bytes and bits are as they lie in memory: little-endian. */

/** Controller properties, offsets in BAR 0 (3.1). Those of 64 bits are accessed in halves. */
export const REGISTER = {
  CAP: 0x00,
  VS: 0x08,
  INTMS: 0x0c,
  INTMC: 0x10,
  CC: 0x14,
  CSTS: 0x1c,
  NSSR: 0x20,
  AQA: 0x24,
  ASQ: 0x28,
  ACQ: 0x30,
  /** The first doorbell: the tail of submission queue 0, then the head of completion queue 0, and so on. */
  DOORBELLS: 0x1000,
} as const

/** CAP, low half (3.1.1). */
export const CAP = {
  /** Contiguous queues required. */
  CQR: 1 << 16,
  /** How long RDY may take, in half seconds; shifted. */
  TO_SHIFT: 24,
} as const
/** CAP, high half. */
export const CAP_HIGH = {
  /** The NVM command set. */
  CSS_NVM: 1 << 5,
  /** Largest page that may be chosen, as a power of two above 4096. */
  MPSMAX_SHIFT: 20,
} as const

export const VERSION_1_4 = 0x0001_0400

/** CC (3.1.5). */
export const CC = {
  EN: 1 << 0,
  CSS: 0x7 << 4,
  MPS: 0xf << 7,
  MPS_SHIFT: 7,
  AMS: 0x7 << 11,
  SHN: 0x3 << 14,
  IOSQES: 0xf << 16,
  IOSQES_SHIFT: 16,
  IOCQES: 0xf << 20,
  IOCQES_SHIFT: 20,
} as const

/** CSTS (3.1.6). */
export const CSTS = {
  RDY: 1 << 0,
  CFS: 1 << 1,
  SHST_OCCURRING: 1 << 2,
  SHST_COMPLETE: 2 << 2,
} as const

/** AQA (3.1.8): both sizes are one less than the number of entries. */
export const AQA = { SIZE: 0xfff, ACQS_SHIFT: 16 } as const

/** The page of PRPs is 4096 bytes shifted left by CC.MPS. */
export const MIN_PAGE_SHIFT = 12
/** Bytes of a submission queue entry, and its power of two. */
export const SQE_SIZE = 64
export const SQES = 6
/** Bytes of a completion queue entry, and its power of two. */
export const CQE_SIZE = 16
export const CQES = 4

/** Command dword 0 (4.2). */
export const CDW0 = { FUSE: 0x3, PSDT: 0xc0, PSDT_SHIFT: 6, PSDT_RESERVED: 3 } as const

/** All namespaces. */
export const BROADCAST_NSID = 0xffff_ffff

/** Admin commands (5). */
export const ADMIN = {
  DELETE_IO_SQ: 0x00,
  CREATE_IO_SQ: 0x01,
  GET_LOG_PAGE: 0x02,
  DELETE_IO_CQ: 0x04,
  CREATE_IO_CQ: 0x05,
  IDENTIFY: 0x06,
  ABORT: 0x08,
  SET_FEATURES: 0x09,
  GET_FEATURES: 0x0a,
  ASYNC_EVENT_REQUEST: 0x0c,
  DOORBELL_BUFFER_CONFIG: 0x7c,
  FORMAT_NVM: 0x80,
} as const

/** NVM commands (6). */
export const NVM = {
  FLUSH: 0x00,
  WRITE: 0x01,
  READ: 0x02,
  COMPARE: 0x05,
  WRITE_ZEROES: 0x08,
  DATASET_MANAGEMENT: 0x09,
} as const

/** Read, Write, Compare, Write Zeroes: command dword 12. */
export const RW = {
  NLB: 0xffff,
  /** Write Zeroes: deallocate. */
  DEAC: 1 << 25,
  FUA: 1 << 30,
} as const

/** Dataset Management (6.7). */
export const DSM = { NR: 0xff, AD: 1 << 2, RANGE_SIZE: 16, MAX_RANGES: 256 } as const

/** Create I/O Submission Queue, Create I/O Completion Queue (5.3, 5.4): command dword 11. */
export const CREATE = { PC: 1 << 0, IEN: 1 << 1 } as const

/** Identify: what (5.15). */
export const CNS = {
  NAMESPACE: 0x00,
  CONTROLLER: 0x01,
  ACTIVE_NAMESPACES: 0x02,
  NAMESPACE_DESCRIPTORS: 0x03,
} as const
export const IDENTIFY_SIZE = 4096
/** Namespace Identifier Type: UUID. */
export const NIDT_UUID = 3

/** Get Log Page: which (5.14.1). */
export const LOG = {
  ERROR: 0x01,
  SMART: 0x02,
  FIRMWARE_SLOT: 0x03,
  CHANGED_NAMESPACES: 0x04,
  EFFECTS: 0x05,
} as const

/** Features (5.21.1). */
export const FEATURE = {
  ARBITRATION: 0x01,
  POWER_MANAGEMENT: 0x02,
  TEMPERATURE_THRESHOLD: 0x04,
  ERROR_RECOVERY: 0x05,
  VOLATILE_WRITE_CACHE: 0x06,
  NUMBER_OF_QUEUES: 0x07,
  INTERRUPT_COALESCING: 0x08,
  INTERRUPT_VECTOR_CONFIGURATION: 0x09,
  WRITE_ATOMICITY: 0x0a,
  ASYNC_EVENT_CONFIGURATION: 0x0b,
  TIMESTAMP: 0x0e,
  HOST_IDENTIFIER: 0x81,
} as const
/** Get Features: which value. */
export const SELECT = { CURRENT: 0, DEFAULT: 1, SAVED: 2, CAPABILITIES: 3 } as const
/** Capabilities of a feature: it can be changed; it is set for a namespace. */
export const FEATURE_CHANGEABLE = 1 << 2
export const FEATURE_OF_NAMESPACE = 1 << 1
/** Temperature Threshold: the value, whose, and which of the two. */
export const TEMPERATURE = {
  THRESHOLD: 0xffff,
  SENSOR_SHIFT: 16,
  SENSOR: 0xf,
  ALL_SENSORS: 0xf,
  WHICH_SHIFT: 20,
  WHICH: 0x3,
} as const
/** Error Recovery: errors for blocks that are deallocated or were never written. */
export const ERROR_RECOVERY = { TIME_LIMIT: 0xffff, DULBE: 1 << 16 } as const
/** Set Features: keep the value across resets. */
export const SAVE = 2 ** 31
/** Interrupt Vector Configuration: Coalescing Disable. */
export const COALESCING_DISABLE = 1 << 16

/** Format NVM (5.23): command dword 10. */
export const FORMAT = {
  LBAF: 0xf,
  PI: 0x7 << 5,
  SES_SHIFT: 9,
  SES: 0x7,
  SES_NONE: 0,
  SES_USER_DATA: 1,
} as const

/** Asynchronous events (5.2): type, and what is told of it. */
export const EVENT = {
  ERROR: 0,
  INVALID_DOORBELL: 0x00,
  INVALID_DOORBELL_VALUE: 0x01,
} as const

/** SGL descriptors (4.4): the type is the high half of the last byte. */
export const SGL = {
  SIZE: 16,
  DATA_BLOCK: 0x0,
  SEGMENT: 0x2,
  LAST_SEGMENT: 0x3,
} as const

const COMMAND_SPECIFIC = 1 << 8
const MEDIA = 2 << 8

/** Status Code Type and Status Code, as they lie in the status field (4.6.1). */
export const STATUS = {
  SUCCESS: 0x00,
  INVALID_OPCODE: 0x01,
  INVALID_FIELD: 0x02,
  DATA_TRANSFER_ERROR: 0x04,
  INTERNAL_ERROR: 0x06,
  ABORT_REQUESTED: 0x07,
  ABORTED_SQ_DELETION: 0x08,
  INVALID_NAMESPACE: 0x0b,
  COMMAND_SEQUENCE_ERROR: 0x0c,
  INVALID_SGL_SEGMENT_DESCRIPTOR: 0x0d,
  INVALID_NUMBER_OF_SGL_DESCRIPTORS: 0x0e,
  DATA_SGL_LENGTH_INVALID: 0x0f,
  SGL_DESCRIPTOR_TYPE_INVALID: 0x11,
  PRP_OFFSET_INVALID: 0x13,
  NAMESPACE_WRITE_PROTECTED: 0x20,
  LBA_OUT_OF_RANGE: 0x80,
  CAPACITY_EXCEEDED: 0x81,
  NAMESPACE_NOT_READY: 0x82,
  FORMAT_IN_PROGRESS: 0x84,

  COMPLETION_QUEUE_INVALID: COMMAND_SPECIFIC | 0x00,
  INVALID_QUEUE_IDENTIFIER: COMMAND_SPECIFIC | 0x01,
  INVALID_QUEUE_SIZE: COMMAND_SPECIFIC | 0x02,
  ASYNC_EVENT_LIMIT_EXCEEDED: COMMAND_SPECIFIC | 0x05,
  INVALID_INTERRUPT_VECTOR: COMMAND_SPECIFIC | 0x08,
  INVALID_LOG_PAGE: COMMAND_SPECIFIC | 0x09,
  INVALID_FORMAT: COMMAND_SPECIFIC | 0x0a,
  INVALID_QUEUE_DELETION: COMMAND_SPECIFIC | 0x0c,
  FEATURE_NOT_SAVEABLE: COMMAND_SPECIFIC | 0x0d,
  FEATURE_NOT_CHANGEABLE: COMMAND_SPECIFIC | 0x0e,
  FEATURE_NOT_OF_NAMESPACE: COMMAND_SPECIFIC | 0x0f,

  WRITE_FAULT: MEDIA | 0x80,
  UNRECOVERED_READ_ERROR: MEDIA | 0x81,
  COMPARE_FAILURE: MEDIA | 0x85,
} as const

/** In the status field: the same command would fail again. */
export const DO_NOT_RETRY = 1 << 14
