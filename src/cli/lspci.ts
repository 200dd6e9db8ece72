/** `mdevkit lspci`: the configuration space of a device, decoded by the lspci that everybody knows. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'
import { Client } from '../vfio-user/client.ts'

export interface LspciOptions {
  readonly socket: string
  readonly hex?: boolean
}

/** VFIO_DEVICE_FLAGS_PCI, and the region that configuration space is. */
const IS_PCI = 1 << 1
const CONFIG_REGION = 7
const ROW = 16

/**
 * Prints what `lspci -vvv` says of the device; with `hex`, what it would be told.
 *
 * @throws what keeps the socket from being used · ENODEV no PCI device · ENOENT no lspci
 */
export async function lspci({ socket, hex = false }: LspciOptions): Promise<void> {
  const dump = hexDump(await readConfig(socket))
  process.stdout.write(hex ? dump : decode(dump))
}

/** The whole configuration space. */
async function readConfig(socket: string): Promise<Uint8Array> {
  const client = await Client.attach(socket)
  try {
    const { flags, regionCount } = await client.info()
    if ((flags & IS_PCI) === 0 || regionCount <= CONFIG_REGION)
      throw new ErrnoError('ENODEV', `${socket}: not a PCI device`)
    const { size } = await client.regionInfo(CONFIG_REGION)
    const most = client.capabilities.max_data_xfer_size
    const parts: Uint8Array[] = []
    for (let at = 0; at < size; at += most) {
      parts.push(await client.read(CONFIG_REGION, at, Math.min(most, size - at)))
    }
    return Buffer.concat(parts)
  } finally {
    client.detach()
  }
}

/** What `lspci -xxxx` prints, and `lspci -F` reads. */
function hexDump(config: Uint8Array): string {
  const rows = ['00:00.0 vfio-user device']
  for (let at = 0; at < config.length; at += ROW) {
    const bytes = Array.from(config.subarray(at, at + ROW), hexByte)
    rows.push(`${hexByte(at)}: ${bytes.join(' ')}`)
  }
  return `${rows.join('\n')}\n\n`
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0')
}

/** @throws ENOENT no lspci · EIO it fails */
function decode(dump: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'mdevkit-lspci-'))
  try {
    const file = join(directory, 'dump') // lspci opens it by name, which a socket for its input has not
    writeFileSync(file, dump)
    const { error, status, stdout, stderr } = spawnSync('lspci', ['-vvv', '-F', file], {
      encoding: 'utf8',
    })
    if (error !== undefined) throw spawnError(error)
    if (status !== 0) throw new ErrnoError('EIO', `lspci: ${stderr.trim()}`)
    return stdout
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function spawnError(error: Error): Error {
  if (!('code' in error && error.code === 'ENOENT')) return error
  const advice = 'not installed: install the package pciutils, or use --hex'
  return new ErrnoError('ENOENT', `lspci: ${advice}`)
}
