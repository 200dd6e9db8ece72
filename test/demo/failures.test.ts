/** What goes wrong on the way must end the demo with 1, and with what was expected and what came. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { after, test } from 'node:test'
import { main } from '../../demo/main.ts'
import { type OpenWire, openTerminal } from '../../demo/wire.ts'
import { Scratch } from '../support/scratch.ts'

const temporary = new Scratch()
process.env['TMPDIR'] = temporary.path
after(() => temporary[Symbol.dispose]())

/** Runs the demo without a VM over these wires. */
async function run(openWire: OpenWire, timeoutMs: number) {
  let stdout = ''
  let stderr = ''
  const status = await main(['--no-vm'], {
    write: (text) => void (stdout += text),
    writeError: (text) => void (stderr += text),
    colour: false,
    signal: new AbortController().signal,
    timeoutMs,
    openWire,
  })
  return { status, stdout, stderr, left: readdirSync(temporary.path) }
}

/** Terminals in which one byte passes through `change`: the one after so many. */
function disturbed(
  way: 'typed' | 'heard',
  after: number,
  change: (byte: Buffer) => Buffer,
): OpenWire {
  let passed = 0
  const disturb = (bytes: Buffer): Buffer => {
    const at = after - passed
    passed += bytes.length
    if (at < 0 || at >= bytes.length) return bytes
    return Buffer.concat([
      bytes.subarray(0, at),
      change(bytes.subarray(at, at + 1)),
      bytes.subarray(at + 1),
    ])
  }
  return (path, onBytes) => {
    const wire = openTerminal(path, (bytes) => onBytes(way === 'heard' ? disturb(bytes) : bytes))
    return {
      write: (bytes) => wire.write(way === 'typed' ? disturb(Buffer.from(bytes)) : bytes),
      close: () => wire.close(),
    }
  }
}

/** What is wrong is seen long before. */
const AMPLE_MS = 60_000

const flip = (byte: Buffer) => Buffer.from([byte[0]! ^ 1])

for (const way of ['typed', 'heard'] as const) {
  test(`demo fails with 1 when a bit of what is ${way} flips`, async () => {
    const { status, stdout, stderr, left } = await run(disturbed(way, 9000, flip), AMPLE_MS)
    assert.equal(status, 1)
    assert.match(
      stderr,
      /^\ndemo failed: EBADMSG: port [01]:\n {2}expected ".*"\n {2}came {5}".*"\n {2}\(byte \d+: /,
    )
    assert.doesNotMatch(stdout, /byte for byte/)
    assert.deepEqual(left, [])
  })

  test(`demo fails with 1 when a byte of what is ${way} gets lost`, async () => {
    const { status, stderr, left } = await run(
      disturbed(way, 9000, () => Buffer.alloc(0)),
      AMPLE_MS,
    )
    assert.equal(status, 1)
    assert.match(
      stderr,
      /^\ndemo failed: EBADMSG: port [01]:\n {2}expected ".*"\n {2}came {5}".*"\n/,
    )
    assert.deepEqual(left, [])
  })
}

test('demo fails with 1 when nothing comes any more', async () => {
  const deaf: OpenWire = (path, onBytes) => {
    let count = 0
    return openTerminal(path, (bytes) => {
      count += bytes.length
      if (count < 5000) onBytes(bytes)
    })
  }
  const { status, stderr, left } = await run(deaf, 300)
  assert.equal(status, 1)
  assert.match(
    stderr,
    /^\ndemo failed: ETIMEDOUT: port [01]:\n {2}expected ".*"\n {2}came .* within 300 ms\n$/,
  )
  assert.deepEqual(left, [])
})

test('demo fails with 1 when its terminals cannot be opened', async () => {
  const { status, stderr, left } = await run(
    (_path, onBytes) => openTerminal('/dev/pts/none', onBytes),
    300,
  )
  assert.equal(status, 1)
  assert.match(stderr, /^\ndemo failed: ENOENT: .*\/dev\/pts\/none'\n$/)
  assert.deepEqual(left, [])
})
