/** VERSION: what each side can do, as JSON, read from a hostile peer and written for QEMU's small buffer. */
import { ErrnoError } from '../lib/errno.ts'

/** What one side says it can do. Absent keys have the protocol's defaults. */
export interface Capabilities {
  /** Most fds in one message to the side that says so. */
  readonly max_msg_fds: number
  /** Most data bytes of one transfer. */
  readonly max_data_xfer_size: number
  /** Most DMA maps at a time. */
  readonly max_dma_maps: number
  /** Bitmap of page sizes. */
  readonly pgsizes: number
  /** REGION_WRITE_MULTI may be used. */
  readonly write_multiple: boolean
}

/** What holds for a peer that says nothing. */
export const DEFAULT_CAPABILITIES: Capabilities = {
  max_msg_fds: 1,
  max_data_xfer_size: 1_048_576,
  max_dma_maps: 65_535,
  pgsizes: 4096,
  write_multiple: false,
}

/** What we say. Cloud Hypervisor sends 16 fds whatever we say, so that is what we say. */
export const OUR_CAPABILITIES: Capabilities = {
  ...DEFAULT_CAPABILITIES,
  max_msg_fds: 16,
  write_multiple: true,
}

const MAX_JSON = 4096

/**
 * Reads the JSON of a VERSION message: an object, one NUL at its end.
 *
 * @param bytes what follows the version numbers; empty for all defaults
 * @throws EINVAL too long, no NUL, no JSON, or a known key of the wrong type
 */
export function parseCapabilities(bytes: Uint8Array): Capabilities {
  if (bytes.length === 0) return DEFAULT_CAPABILITIES
  if (bytes.length > MAX_JSON)
    throw refusal(`${bytes.length} bytes of JSON, ${MAX_JSON} are the most`)
  if (bytes.indexOf(0) !== bytes.length - 1) throw refusal('the JSON must end with one NUL')
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, -1)))
  } catch (error) {
    throw refusal('no JSON', error)
  }
  if (!isObject(json)) throw refusal('no JSON object')
  const { capabilities: given = {} } = json
  if (!isObject(given)) throw refusal('capabilities: no object')
  const capabilities: Record<string, unknown> = { ...DEFAULT_CAPABILITIES }
  for (const [key, fallback] of Object.entries(DEFAULT_CAPABILITIES)) {
    const value = given[key]
    if (value === undefined) continue
    const valid = typeof fallback === 'boolean' ? typeof value === 'boolean' : isCount(value)
    if (!valid) throw refusal(`${key}: ${JSON.stringify(value)}`)
    capabilities[key] = value
  }
  return capabilities as unknown as Capabilities
}

/** The JSON of a VERSION message, compact, with its NUL. */
export function encodeCapabilities(capabilities: Partial<Capabilities>): Uint8Array {
  return Buffer.from(`${JSON.stringify({ capabilities })}\0`)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Any u64: a client with all page sizes says 2^64 - 4096. */
function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 2 ** 64
}

function refusal(message: string, cause?: unknown): ErrnoError {
  return new ErrnoError('EINVAL', `VERSION: ${message}`, { cause })
}
