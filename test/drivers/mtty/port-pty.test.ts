import assert from 'node:assert/strict'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PtyPort } from '../../../drivers/mtty/port-pty.ts'
import { Scratch } from '../../support/scratch.ts'
import { until } from '../../support/until.ts'
import { Collector } from './waiting.ts'

class Setup implements Disposable {
  readonly scratch = new Scratch()
  readonly link = join(this.scratch.path, 'port0')
  readonly port = PtyPort.open(this.link, false)
  readonly guest = new Collector(this.port)
  #terminals: number[] = []

  /** A terminal program opens the link. */
  openTerminal(): number {
    const fd = openSync(this.link, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
    this.#terminals.push(fd)
    return fd
  }

  closeTerminal(): void {
    for (const fd of this.#terminals.splice(0)) closeSync(fd)
  }

  [Symbol.dispose](): void {
    this.closeTerminal()
    this.port.close()
    this.scratch[Symbol.dispose]()
  }
}

/** Reads what is there, of a terminal that does not wait. @returns how many bytes */
function readSome(terminal: number, target: Uint8Array): number {
  try {
    return readSync(terminal, target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0
    throw error
  }
}

test('PtyPort carries bytes both ways, through a link in a known place', async () => {
  using setup = new Setup()
  const { port, guest } = setup
  assert.match(port.place, /^\/dev\/pts\/\d+$/)
  assert.equal(readlinkSync(setup.link), port.place)
  const terminal = setup.openTerminal()
  await guest.until(() => port.present)
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  writeSync(terminal, every)
  assert.ok((await guest.next(256)).equals(every), 'raw: no byte is special')
  for (const byte of every) assert.equal(port.send(byte), true)
  const received = Buffer.alloc(256)
  let count = 0
  const read = () => {
    count += readSome(terminal, received.subarray(count))
    return count === 256
  }
  await until(read, '256 bytes at the terminal')
  assert.ok(received.equals(every))
  assert.equal(port.receive(), -1, 'and nothing is echoed')
})

test('PtyPort is present while a program has the terminal open', async () => {
  using setup = new Setup()
  const { port, guest } = setup
  assert.equal(port.present, false)
  for (let i = 0; i < 10_000; i++) assert.equal(port.send(0x41), true, 'dropped')
  for (let i = 0; i < 3; i++) {
    setup.openTerminal()
    await guest.until(() => port.present)
    setup.closeTerminal()
    await guest.until(() => !port.present)
  }
})

test('PtyPort delivers what a program wrote before it closed', async () => {
  using setup = new Setup()
  writeFileSync(setup.link, 'last words')
  assert.equal((await setup.guest.next(10)).toString(), 'last words')
})

test('PtyPort takes from the terminal no faster than the guest reads', async () => {
  using setup = new Setup()
  const terminal = openSync(
    setup.link,
    constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK,
  )
  try {
    const sent: number[] = []
    const fill = () => {
      const chunk = Buffer.from(Array.from({ length: 1000 }, (_, i) => (sent.length + i) % 251))
      try {
        const count = writeSync(terminal, chunk)
        sent.push(...chunk.subarray(0, count))
        return true
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
        return false
      }
    }
    for (let round = 0; round < 20; round++) {
      while (fill());
      const before = sent.length
      assert.ok((await setup.guest.next(5000)).equals(Buffer.from(sent.splice(0, 5000))))
      assert.equal(sent.length, before - 5000)
    }
    assert.ok((await setup.guest.next(sent.length)).equals(Buffer.from(sent)))
  } finally {
    closeSync(terminal)
  }
})

test('PtyPort makes a guest wait for a terminal that does not read, and drops the rest when it closes', async () => {
  using setup = new Setup()
  const { port, guest } = setup
  setup.openTerminal()
  await guest.until(() => port.present)
  let sent = 0
  for (let stuck = 0; stuck < 3; stuck++) {
    for (; port.send(0x41); sent++) stuck = 0
    assert.ok(sent < 2 ** 20, `${sent} bytes are taken`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  setup.closeTerminal()
  await guest.until(() => !port.present)
  const next = openSync(setup.link, constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK)
  await guest.until(() => port.present)
  port.send(0x42)
  let received = ''
  const chunk = Buffer.alloc(1000)
  const read = () => {
    received += chunk.toString('latin1', 0, readSome(next, chunk))
    return received.endsWith('B')
  }
  await until(read, 'what was sent last to come', { pauseMs: 0 })
  closeSync(next)
  // what the kernel had taken is there still, the 4 KiB that waited with the port are not
  assert.equal(received.length - 1, sent - 4096)
})

test('PtyPort replaces a link that a dead host left, and nothing else', () => {
  using scratch = new Scratch()
  const link = join(scratch.path, 'port0')
  symlinkSync('/dev/pts/never', link)
  const port = PtyPort.open(link, false)
  assert.equal(readlinkSync(link), port.place)
  port.close()
  assert.deepEqual(readdirSync(scratch.path), [])

  writeFileSync(link, 'mine')
  assert.throws(() => PtyPort.open(link, false), { code: 'EEXIST' })
  assert.equal(readFileSync(link, 'utf8'), 'mine')
})

test('PtyPort.close() takes away the terminal and the link, unless the link is another’s by now', () => {
  using scratch = new Scratch()
  const link = join(scratch.path, 'port0')
  const first = PtyPort.open(link, false)
  const second = PtyPort.open(link, false)
  first.close()
  assert.equal(readlinkSync(link), second.place)
  second.close()
  second.close()
  assert.equal(existsSync(second.place), false)
  assert.deepEqual(readdirSync(scratch.path), [])
})
