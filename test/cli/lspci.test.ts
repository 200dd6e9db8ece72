/** `mdevkit lspci` as a child process, with the lspci of this machine. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { lspci } from '../support/lspci.ts'
import { Mdevkit, PROJECT, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { refusalLine } from './refusal-line.ts'

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs `mdevkit lspci` on what a driver makes. */
async function lspciOf(driver: string, ...args: string[]): Promise<Ended> {
  using scratch = new Scratch()
  const { host, report } = await serve([driver], { root: scratch.path })
  await using _ = host
  await using command = await Mdevkit.start(['lspci', '--socket', report.socket, ...args], {
    root: scratch.path,
  })
  const { code, stdout, stderr } = await command.ended
  return { code, stdout, stderr }
}

/** The bytes of a dump as `lspci -x` prints it. */
function bytesOf(dump: string): Buffer {
  const rows = dump.split('\n').filter((line) => /^[0-9a-f]{2,3}: /.test(line))
  return Buffer.from(
    rows.map((row) => row.replace(/^[0-9a-f]+: /, '').replaceAll(' ', '')).join(''),
    'hex',
  )
}

const CHECKSUM = join(PROJECT, 'examples/checksum.ts')

describe('lspci', () => {
  test('prints what lspci -vvv says of mtty', async () => {
    const { code, stdout, stderr } = await lspciOf('mtty')
    assert.equal(stderr, '')
    assert.match(stdout, /^00:00\.0 Serial controller: /)
    assert.match(stdout, /^\tInterrupt: pin A routed to IRQ 0$/m)
    assert.match(stdout, /^\tRegion 0: I\/O ports at /m)
    assert.equal(code, 0)
  })

  test('decodes the capabilities of a PCI Express device, of 4096 bytes', async () => {
    const { stdout } = await lspciOf(CHECKSUM)
    assert.match(stdout, /^\tCapabilities: \[[0-9a-f]+\] Express .*Endpoint/m)
    assert.match(stdout, /^\tCapabilities: \[[0-9a-f]+\] MSI-X: Enable- Count=1 /m)
  })

  test('--hex prints a dump that lspci -F reads', async () => {
    const { code, stdout, stderr } = await lspciOf(CHECKSUM, '--hex')
    assert.equal(stderr, '')
    assert.equal(code, 0)
    const config = bytesOf(stdout)
    assert.equal(config.length, 4096)
    assert.equal(config.readUInt32LE(0), 0xbe12_1b36) // device and vendor id
    assert.match(lspci(config).join('\n'), /1b36:be12/)
    const { stdout: decoded } = await lspciOf(CHECKSUM)
    assert.match(decoded, /MSI-X/)
  })

  test('says what to install where there is no lspci, and --hex does without', async () => {
    const { PATH } = process.env
    process.env['PATH'] = '/nonexistent'
    try {
      const { code, stdout, stderr } = await lspciOf('mtty')
      assert.match(refusalLine(stderr), /^mdevkit lspci: ENOENT: .*pciutils.*\n$/)
      assert.deepEqual({ code, stdout }, { code: 3, stdout: '' })
      assert.equal((await lspciOf('mtty', '--hex')).code, 0)
    } finally {
      process.env['PATH'] = PATH
    }
  })

  test('says in one line why the socket cannot be used', async () => {
    using scratch = new Scratch()
    const path = join(scratch.path, 'none')
    await using command = await Mdevkit.start(['lspci', '--socket', path], { root: scratch.path })
    const { code, stdout, stderr } = await command.ended
    assert.deepEqual(
      { code, stdout, stderr: refusalLine(stderr) },
      { code: 3, stdout: '', stderr: `mdevkit lspci: ENOENT: connect ${path}\n` },
    )
  })

  test('ends with 2 without a socket', async () => {
    using scratch = new Scratch()
    await using command = await Mdevkit.start(['lspci'], { root: scratch.path })
    const { code, stderr } = await command.ended
    assert.equal(refusalLine(stderr), `mdevkit: required option '--socket <path>' not specified\n`)
    assert.equal(code, 2)
  })
})
