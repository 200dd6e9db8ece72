/** VERSION: what each side can do, as JSON, read from a hostile peer and written for QEMU's small buffer. */
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Message } from './frame.ts'
import type { ServedClient } from './served-client.ts'

/** What one side says of migration. */
export interface MigrationCapabilities {
  /** Bytes of the smallest dirty page; a multiple of 4096. */
  readonly pgsize: number
  /** Most bytes of a bitmap of dirty pages. */
  readonly max_bitmap_size: number
}

/** What one side says of a second socket, for requests of the server. */
export interface TwinSocketCapability {
  /** A client's: it wants one. A server's: here it is. */
  readonly supported: boolean
  /** A server's: which of the fds of its reply that is. */
  readonly fd_index?: number
}

/** Most bytes of a bitmap of dirty pages: the protocol's default, and the most that QEMU takes. */
export const MAX_BITMAP_SIZE = 256 * 2 ** 20

/** What one side says it can do. Absent keys have the protocol's defaults. */
export interface Capabilities {
  /** It can migrate, or its device can. */
  readonly migration?: MigrationCapabilities
  readonly twin_socket?: TwinSocketCapability
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
  /** A client's: it takes a region of several files. */
  readonly sparse_mmap_fds: boolean
}

/** What holds for a peer that says nothing. */
export const DEFAULT_CAPABILITIES: Capabilities = {
  max_msg_fds: 1,
  max_data_xfer_size: 1_048_576,
  max_dma_maps: 65_535,
  pgsizes: 4096,
  write_multiple: false,
  sparse_mmap_fds: false,
}

/** What we say. Cloud Hypervisor sends 16 fds whatever we say, so that is what we say. */
export const OUR_CAPABILITIES: Capabilities = {
  ...DEFAULT_CAPABILITIES,
  max_msg_fds: 16,
  write_multiple: true,
}

/** Said where the device can migrate. The bitmap's default is ours, and unsaid, lest the reply outgrow QEMU's buffer. */
export const OUR_MIGRATION = { pgsize: 4096 } as const satisfies Partial<MigrationCapabilities>

/** Said to a client that has asked for it: the twin is the only fd of the reply. */
const OUR_TWIN_SOCKET: TwinSocketCapability = { supported: true, fd_index: 0 }

const MAX_JSON = 4096

const versionView = wire.VfioUserVersion.view()

/**
 * Answers VERSION with what both sides can do.
 *
 * @throws EINVAL said already, another major, or a proposal that makes no sense · EMFILE, ENFILE no fds for a twin socket
 */
export function version(client: ServedClient, request: Message): number {
  const { major, minor } = versionView.aim(request.view, request.at)
  if (client.capabilities !== undefined) throw refusal('said already')
  if (major !== wire.VFIO_USER_MAJOR)
    throw refusal(`major ${major}, ours is ${wire.VFIO_USER_MAJOR}`)
  const proposal = parseCapabilities(request.payload(wire.VfioUserVersion.size))
  const { write_multiple, sparse_mmap_fds, migration } = proposal // not to be answered unasked
  const migrates = migration !== undefined && client.device.migration !== undefined
  const hasTwin = wantsTwin(proposal, request)
  if (hasTwin) client.openTwin()
  const json = encodeCapabilities({
    ...OUR_CAPABILITIES,
    write_multiple,
    sparse_mmap_fds,
    ...(migrates && { migration: OUR_MIGRATION }),
    ...(hasTwin && { twin_socket: OUR_TWIN_SOCKET }),
  })
  client.reserveReply(wire.VfioUserVersion.size + json.length)
  versionView.aim(client.reply, client.replyAt)
  versionView.major = wire.VFIO_USER_MAJOR
  versionView.minor = Math.min(minor, wire.VFIO_USER_MINOR) // QEMU refuses a minor above its own
  client.replyBytes.set(json, client.replyAt + wire.VfioUserVersion.size)
  client.capabilities = proposal
  return wire.VfioUserVersion.size + json.length
}

/** Whether the client has asked for a twin socket, and there is a reply that can bring it. */
function wantsTwin({ twin_socket, max_msg_fds }: Capabilities, { flags }: Message): boolean {
  const hasReply = (flags & wire.VFIO_USER_F_NO_REPLY) === 0
  return twin_socket?.supported === true && max_msg_fds > 0 && hasReply
}

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
  const { migration, twin_socket } = given
  if (migration !== undefined) capabilities['migration'] = parseMigration(migration)
  if (twin_socket !== undefined) capabilities['twin_socket'] = parseTwinSocket(twin_socket)
  return capabilities as unknown as Capabilities
}

/** @throws EINVAL */
function parseMigration(given: unknown): MigrationCapabilities {
  if (!isObject(given)) throw refusal('migration: no object')
  const { pgsize = 4096, max_bitmap_size = MAX_BITMAP_SIZE } = given
  if (!isCount(pgsize) || pgsize === 0 || pgsize % 4096 !== 0 || !isCount(max_bitmap_size))
    throw refusal(`migration: ${JSON.stringify(given)}`)
  return { pgsize, max_bitmap_size }
}

/** @throws EINVAL */
function parseTwinSocket(given: unknown): TwinSocketCapability {
  if (!isObject(given)) throw refusal('twin_socket: no object')
  const { supported = false, fd_index } = given
  if (typeof supported !== 'boolean' || (fd_index !== undefined && !isCount(fd_index)))
    throw refusal(`twin_socket: ${JSON.stringify(given)}`)
  return { supported, ...(fd_index !== undefined && { fd_index }) }
}

/** The JSON of a VERSION message, compact, with its NUL. */
export function encodeCapabilities(
  said: Partial<Omit<Capabilities, 'migration'>> & {
    readonly migration?: Partial<MigrationCapabilities>
  },
): Uint8Array {
  const { sparse_mmap_fds, ...capabilities } = said // in no released protocol: nobody is told that it is not there
  const json = { capabilities: { ...capabilities, ...(sparse_mmap_fds && { sparse_mmap_fds }) } }
  return Buffer.from(`${JSON.stringify(json)}\0`)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Any u64: a client with all page sizes says 2^64 - 4096. */
function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 2 ** 64
}

function refusal(message: string, cause?: unknown): ErrnoError {
  return new ErrnoError('EINVAL', `VERSION: ${message}`, { cause })
}
