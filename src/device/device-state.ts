/** The state of a device as it travels: what a driver saves, in an envelope that says whose it is, and of which version. */
import { ErrnoError } from '../lib/errno.ts'
import { dataViewOf, struct } from '../lib/struct.ts'

/** What a driver can save of a device, and take over. With it the device can migrate. */
export interface DeviceState {
  /** Whose state it is: that of another id is refused. At most 255 bytes. */
  readonly id: string
  /** Of what `save` gives. A later one is refused; an earlier one comes to `load`. */
  readonly version: number
  /**
   * All that the driver itself knows of the device: registers, work that is under way, which interrupt lines are asserted.
   * The device is stopped: it is not accessed, and can neither reach guest memory nor interrupt.
   */
  save(): Uint8Array
  /**
   * Takes over what `save` gave, perhaps in another host. The device has been reset, and is stopped.
   *
   * @param bytes   from a peer that may be hostile: check every length and index
   * @param version of `bytes`, at most our own
   * @throws EINVAL bytes that no device of ours can have saved; the device is then reset again
   */
  load(bytes: Uint8Array, version: number): void
}

/** The parts of a function's state. */
export interface StateParts {
  /** Configuration space. */
  readonly config: Uint8Array
  /** Pending vectors, and the MSI-X table. */
  readonly interrupts: Uint8Array
  /** The driver's. */
  readonly device: Uint8Array
}

/** Then follow, without gaps: the id, UTF-8; then the parts, in this order. */
const Envelope = struct('mdevkit_state', 40, {
  magic: 'u64',
  format: 'u32', // of the envelope and of the parts that are not the driver's
  version: 'u32', // of the driver's part
  id_size: 'u32',
  config_size: 'u32',
  interrupts_size: 'u32',
  _pad0: 'u32',
  device_size: 'size',
})
const MAGIC = 0x00_74_69_6b_76_65_64_6dn // 'mdevkit\0'
const FORMAT = 1
const MAX_ID = 255

/** Whether a driver's hook can be used. @throws EINVAL */
export function checkDeviceState(state: DeviceState): void {
  const { id, version } = state
  const valid =
    typeof id === 'string' &&
    id !== '' &&
    Buffer.byteLength(id) <= MAX_ID &&
    Number.isInteger(version) &&
    version >= 0 &&
    version <= 0xffff_ffff &&
    typeof state.save === 'function' &&
    typeof state.load === 'function'
  if (!valid)
    throw new ErrnoError('EINVAL', 'device state: must be { id, version, save(), load() }')
}

export function encodeState(
  { id, version }: Pick<DeviceState, 'id' | 'version'>,
  { config, interrupts, device }: StateParts,
): Uint8Array {
  const name = Buffer.from(id)
  const envelope = Envelope.encode({
    magic: MAGIC,
    format: FORMAT,
    version,
    id_size: name.length,
    config_size: config.length,
    interrupts_size: interrupts.length,
    device_size: device.length,
  })
  return Buffer.concat([envelope, name, config, interrupts, device])
}

/**
 * Opens an envelope; nothing in it is believed but that the lengths are right.
 *
 * @param stream from a peer
 * @returns the parts, in place, and the version of the driver's
 * @throws EINVAL no state, not whole, of another device, or of a later version
 */
export function decodeState(
  { id, version }: Pick<DeviceState, 'id' | 'version'>,
  stream: Uint8Array,
): StateParts & { readonly version: number } {
  if (stream.length < Envelope.size) throw refusal(`${stream.length} bytes`)
  const envelope = Envelope.view().aim(dataViewOf(stream))
  if (envelope.magic !== MAGIC) throw refusal('not saved by mdevkit')
  if (envelope.format !== FORMAT) throw refusal(`of format ${envelope.format}, ours is ${FORMAT}`)
  const { id_size, config_size, interrupts_size, device_size } = envelope
  const size = Envelope.size + id_size + config_size + interrupts_size + device_size
  if (size !== stream.length) throw refusal(`${stream.length} bytes of ${size}`)
  let at: number = Envelope.size
  const next = (length: number) => stream.subarray(at, (at += length))
  const name = next(id_size)
  if (!Buffer.from(id).equals(name)) throw refusal(`not of ${JSON.stringify(id)}`)
  if (envelope.version > version)
    throw refusal(`of version ${envelope.version}, ours is ${version}`)
  return {
    config: next(config_size),
    interrupts: next(interrupts_size),
    device: next(device_size),
    version: envelope.version,
  }
}

function refusal(message: string): ErrnoError {
  return new ErrnoError('EINVAL', `device state: ${message}`)
}
