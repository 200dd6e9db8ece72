/** Datagrams to UNIX sockets: where they arrive, and how they are refused. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { sendDatagram } from '../../src/os/notify-socket.ts'
import { DatagramReceiver } from '../support/datagrams.ts'
import { assertKeepsFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

describe('sendDatagram()', () => {
  test('sends one datagram each, to a file or a name outside of the file system', () => {
    using scratch = new Scratch()
    const path = join(scratch.path, 'notify')
    using file = new DatagramReceiver(path)
    using name = new DatagramReceiver(`\0${path}`)
    assertKeepsFds(() => {
      sendDatagram(path, 'READY=1\nSTATUS=höre')
      sendDatagram(path, 'STOPPING=1')
      sendDatagram(`@${path}`, 'WATCHDOG=1')
    })
    assert.deepEqual(file.received(), ['READY=1\nSTATUS=höre', 'STOPPING=1'])
    assert.deepEqual(name.received(), ['WATCHDOG=1'])
  })

  for (const [path, code] of [
    ['/nowhere/notify', 'ENOENT'],
    ['vsock:2:1', 'EINVAL'],
    ['', 'EINVAL'],
    ['/a\0b', 'EINVAL'],
    [`/${'x'.repeat(107)}`, 'ENAMETOOLONG'],
  ] as const) {
    test(`refuses ${JSON.stringify(path.slice(0, 20))} of ${path.length} characters with ${code}`, () => {
      assertKeepsFds(() => assert.throws(() => sendDatagram(path, 'READY=1'), { code }))
    })
  }
})
