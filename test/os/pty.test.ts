import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { test } from 'node:test'
import type { Peer } from '../../src/os/peer.ts'
import { openPty } from '../../src/os/pty.ts'

/** A pty whose owner reads all that comes, and things to wait for. */
class Owner implements Disposable {
  readonly pty: Peer
  readonly seen: boolean[] = []
  received = Buffer.alloc(0)
  writable = 0
  #look = (): void => {}

  constructor() {
    const buffer = new Uint8Array(1000)
    this.pty = openPty({
      onReadable: () => {
        for (let count; (count = this.pty.read(buffer)) > 0;) {
          this.received = Buffer.concat([this.received, buffer.subarray(0, count)])
        }
        this.#look()
      },
      onWritable: () => {
        this.writable++
        this.#look()
      },
      onPresence: (present) => {
        this.seen.push(present)
        this.#look()
      },
    })
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#look = () => {
        if (!condition()) return
        this.#look = () => {}
        resolve()
      }
      this.#look()
    })
  }

  [Symbol.dispose](): void {
    this.pty.close()
  }
}

function openTerminal(pty: Peer, flags = 0): number {
  return openSync(pty.path, constants.O_RDWR | constants.O_NOCTTY | flags)
}

/** Written for programs that wait in read(2): the answer comes to a process of its own. */
async function runShell(script: string): Promise<string> {
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')))
  await once(child, 'close')
  return output.trim()
}

test('openPty() is raw and does not echo', async () => {
  using owner = new Owner()
  const modes = execFileSync('stty', ['-a', '-F', owner.pty.path], { encoding: 'utf8' }).split(
    /[\s;]+/,
  )
  for (const mode of ['-echo', '-icanon', '-isig', '-opost', '-icrnl', '-ixon', 'cs8']) {
    assert.ok(modes.includes(mode), mode)
  }
  const terminal = openTerminal(owner.pty)
  await owner.until(() => owner.pty.present)
  assert.equal(owner.pty.write(Buffer.from('\r\n\x03\x04')), 4)
  const buffer = Buffer.alloc(10)
  assert.equal(buffer.toString('latin1', 0, readSync(terminal, buffer)), '\r\n\x03\x04')
  writeSync(terminal, 'x')
  await owner.until(() => owner.received.length === 1)
  closeSync(terminal)
})

test('Pty.present is true from the first open to the last close', async () => {
  using owner = new Owner()
  assert.equal(owner.pty.present, false)
  for (let round = 1; round <= 3; round++) {
    const first = openTerminal(owner.pty)
    await owner.until(() => owner.pty.present)
    const second = openTerminal(owner.pty)
    closeSync(first)
    writeSync(second, 'x')
    await owner.until(() => owner.received.length === round)
    assert.equal(owner.pty.present, true, 'somebody is still there')
    closeSync(second)
    await owner.until(() => !owner.pty.present)
  }
  assert.deepEqual(owner.seen, [true, false, true, false, true, false])
})

test('Pty does not wake anybody up while nobody is there', async () => {
  let wakeUps = 0
  using pty: Peer = openPty({
    onReadable() {
      wakeUps++
      assert.equal(pty.read(new Uint8Array(1)), 0)
    },
    onPresence: () => wakeUps++,
  })
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.ok(wakeUps <= 1, `${wakeUps} wake-ups: it spins on the hang-up`)
  assert.equal(pty.present, false)
})

test('Pty.read() gets what was written before the terminal was closed', async () => {
  using owner = new Owner()
  writeFileSync(owner.pty.path, 'last words')
  await owner.until(() => owner.received.length === 10)
  assert.equal(owner.received.toString(), 'last words')
  assert.equal(owner.pty.read(new Uint8Array(10)), 0)
})

test('Pty.write() drops what nobody is there for', async () => {
  using owner = new Owner()
  assert.equal(owner.pty.write(Buffer.alloc(100_000)), 100_000)
  const terminal = openTerminal(owner.pty, constants.O_NONBLOCK)
  await owner.until(() => owner.pty.present)
  assert.throws(() => readSync(terminal, Buffer.alloc(1)), { code: 'EAGAIN' })
  closeSync(terminal)
})

test('Pty.write() takes no more than fits, and onWritable says when to go on', async () => {
  using owner = new Owner()
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251))
  const shell = runShell(
    `exec 3<>${owner.pty.path}; head -c ${sent.length} <&3 | cksum; printf done >&3`,
  )
  await owner.until(() => owner.pty.present)
  let written = 0
  await owner.until(() => {
    for (let count; written < sent.length; written += count) {
      count = owner.pty.write(sent.subarray(written))
      if (count === 0) return false
    }
    return true
  })
  await owner.until(() => owner.received.length === 4)
  assert.equal(await shell, execFileSync('cksum', { input: sent, encoding: 'utf8' }).trim())
  assert.ok(owner.writable > 1, 'it did not fit at once')
})

test('Pty.read() may be put off: the program waits, nothing is lost', async () => {
  let readable = 0
  let wake = (): void => {}
  using pty = openPty({
    onReadable() {
      readable++
      wake()
    },
  })
  const told = new Promise<void>((resolve) => (wake = resolve))
  const terminal = openTerminal(pty)
  for (let turn = 0; turn < 50; turn++) {
    writeSync(terminal, `${turn}\n`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await told
  assert.equal(readable, 1, 'not told again before it is read')
  const shell = runShell(`seq 50 100000 > ${pty.path}; echo written`)
  const expected = execFileSync('seq', ['0', '100000'])
  const received: Buffer[] = []
  for (let length = 0; length < expected.length;) {
    const buffer = Buffer.alloc(4096)
    const count = pty.read(buffer)
    if (count === 0) await new Promise<void>((resolve) => (wake = resolve))
    length += count
    received.push(buffer.subarray(0, count))
  }
  assert.ok(Buffer.concat(received).equals(expected))
  assert.equal(await shell, 'written')
  closeSync(terminal)
})

test('Pty.close() hangs up on programs and leaves no fd', async () => {
  const countFds = () => readdirSync('/proc/self/fd').length
  new Owner().pty.close() // what a process makes once and keeps
  const before = countFds()
  const owners = [new Owner(), new Owner()]
  const [first, second] = owners.map(({ pty }) => pty)
  const terminal = openTerminal(first!)
  await owners[0]!.until(() => first!.present)
  first!.close()
  first!.close()
  assert.equal(first!.present, false)
  assert.equal(first!.read(new Uint8Array(1)), 0)
  assert.equal(first!.write(new Uint8Array(1)), 0)
  assert.equal(readSync(terminal, Buffer.alloc(1)), 0, 'end of file')
  closeSync(terminal)
  assert.equal(existsSync(first!.path), false)

  const other = openTerminal(second!)
  await owners[1]!.until(() => second!.present)
  closeSync(other)
  second!.close()
  assert.equal(countFds(), before)
})
