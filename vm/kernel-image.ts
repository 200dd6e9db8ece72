/** Takes the ELF kernel out of a bzImage: booted through its PVH entry it need not unpack itself in emulation. */

const SETUP_SECTS = 0x1f1 // Documentation/arch/x86/boot.rst has these offsets
const HEADER_MAGIC = 0x202
const PAYLOAD_OFFSET = 0x248
const PAYLOAD_LENGTH = 0x24c
const SECTOR = 512
const ZSTD_MAGIC = 0xfd2fb528

/** The payload of a bzImage if it is compressed with zstd, as Debian's is; undefined for all else. */
export function zstdPayload(image: Buffer): Buffer | undefined {
  if (image.length < PAYLOAD_LENGTH + 4) return undefined
  if (image.toString('latin1', HEADER_MAGIC, HEADER_MAGIC + 4) !== 'HdrS') return undefined
  const setup = (image.readUInt8(SETUP_SECTS) || 4) + 1
  const start = setup * SECTOR + image.readUInt32LE(PAYLOAD_OFFSET)
  const length = image.readUInt32LE(PAYLOAD_LENGTH) - 4 // the kernel's build appends the unpacked size
  if (length < 4 || start + length > image.length) return undefined
  const payload = image.subarray(start, start + length)
  return payload.readUInt32LE(0) === ZSTD_MAGIC ? payload : undefined
}
