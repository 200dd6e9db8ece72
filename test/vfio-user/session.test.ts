/** A real QEMU session, replayed; and clients that end at any moment of it (sections 15.4 and 20 of the reference). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { after, before, describe, test } from 'node:test'
import { defineDriver } from '../../src/index.ts'
import { start } from '../support/child.ts'
import { openFds } from '../support/fds.ts'
import { collectGarbage } from '../support/garbage.ts'
import { resourcesOf } from '../support/resources.ts'
import { assertSuccess, RawClient, VERSION, versionPayload } from '../support/vfio-user-raw.ts'
import { Served } from '../support/vfio-user-served.ts'
import { type Exchange, Gifts, OUR_SESSION, SESSION } from './qemu-session.ts'

/**
 * The device of section 20, with registers that read back as written. Its BAR 0 has the 4096 bytes that the recorded
 * GET_REGION_INFO says, not the 256 of the text above it.
 */
const recorded = defineDriver({
  name: 'recorded',
  types: { 1: {} },
  probe(mdev) {
    const registers = Buffer.alloc(4096)
    const pci = mdev.pci({
      vendor: 0x1b36,
      device: 0xbe11,
      class: 0xff_00_00,
      revision: 1,
      subsystem: 0x22,
    })
    pci.intx()
    pci.msix(4, { bar: 1 })
    pci.bar(
      0,
      { kind: 'mem32', size: 4096 },
      {
        read: (offset, width) => registers.readUIntLE(offset, width),
        write: (offset, value, width) => void registers.writeUIntLE(value, offset, width),
      },
    )
    return { reset: () => registers.fill(0) }
  },
})

let served: Served
before(async () => {
  served = await Served.start(recorded)
})
after(() => served[Symbol.dispose]())

/** Says `exchanges`, one at a time, and checks each reply but that to VERSION. */
async function replay(client: RawClient, exchanges: readonly Exchange[]): Promise<void> {
  using gifts = new Gifts()
  for (const exchange of exchanges) {
    await client.send(exchange.request, gifts.of(exchange))
    if (exchange.reply === undefined) continue
    const reply = await client.reply()
    assert.deepEqual(reply.fds, [])
    if (exchange.command === 'VERSION') continue
    const header = exchange.reply.subarray(0, 16)
    const id = header.toString('hex', 0, 2)
    assert.equal(reply.payload.toString('hex'), exchange.reply.toString('hex', 16), `id ${id}`)
    assert.deepEqual(
      [reply.id, reply.command, reply.size, reply.flags, reply.error],
      [header.readUInt16LE(0), header.readUInt16LE(2), header.readUInt32LE(4), 1, 0],
    )
  }
}

describe("QEMU's session", () => {
  test('differs from ours in 5 of its 56 messages: where the MSI-X capability is', () => {
    assert.equal(SESSION.length, 56)
    const different = OUR_SESSION.filter(({ request, reply }, i) => {
      const theirs = SESSION[i]
      return !(
        theirs?.request.equals(request) &&
        (reply === undefined || theirs.reply?.equals(reply))
      )
    })
    const ids = different.map(({ request }) => request.readUInt16LE(0))
    assert.deepEqual(ids, [0x0c, 0x13, 0x14, 0x15, 0xbb])
  })

  test('is answered byte for byte', async () => {
    using client = RawClient.connect(served.path)
    await replay(client, OUR_SESSION)
    await client.assertAlive()
  })

  // Our VERSION says more than the recorded one, which named three capabilities; the frame is the same.
  test('begins with a VERSION that QEMU takes: same id, 0.0, 214 bytes at most, one NUL', async () => {
    using client = RawClient.connect(served.path)
    await client.send(SESSION[0]?.request ?? Buffer.alloc(0))
    const { id, command, flags, error, size, payload } = await client.reply()
    assert.deepEqual([id, command, flags, error], [0, VERSION, 1, 0])
    assert.deepEqual(payload.subarray(0, 4), Buffer.alloc(4))
    assert.ok(size <= 214)
    assert.equal(payload.indexOf(0, 4), payload.length - 1)
    const { capabilities } = JSON.parse(payload.toString('utf8', 4, payload.length - 1)) as {
      capabilities: Record<string, unknown>
    }
    assert.equal(capabilities['max_data_xfer_size'], 1048576)
    assert.equal(capabilities['write_multiple'], true)
  })

  test('said without waiting for replies gets the same', async () => {
    using client = RawClient.connect(served.path)
    using gifts = new Gifts()
    for (const exchange of OUR_SESSION) await client.send(exchange.request, gifts.of(exchange))
    for (const { reply, command } of OUR_SESSION) {
      if (reply === undefined) continue
      const { payload } = await client.reply()
      if (command !== 'VERSION') assert.deepEqual(payload, reply.subarray(16))
    }
  })
})

/** Runs a client that goes at the end of `body`: nothing of it is left, and another can come. */
async function assertGoes(body: () => Promise<void>): Promise<void> {
  const before = openFds()
  const detached = served.detached()
  await body()
  await detached
  assert.deepEqual(openFds(), before)
  assert.deepEqual(resourcesOf().shared, [])
  assert.equal(served.mdev.group.user, undefined)
  using next = RawClient.connect(served.path)
  assertSuccess(await next.request(VERSION, versionPayload('{}')))
  await next.assertAlive()
  next.close()
  await served.idle()
}

describe('a client that goes', () => {
  for (const wait of [true, false]) {
    test(`after each message of the session, ${wait ? 'answered' : 'unanswered'}`, async () => {
      await served.idle()
      for (let count = 0; count <= OUR_SESSION.length; count++) {
        await assertGoes(async () => {
          using gifts = new Gifts()
          using client = RawClient.connect(served.path)
          for (const [i, exchange] of OUR_SESSION.slice(0, count).entries()) {
            await client.send(exchange.request, gifts.of(exchange))
            if (exchange.reply !== undefined && (wait || i < count - 1)) await client.reply()
          }
        })
      }
    })
  }

  for (const index of [0, 1, 11, 25, SESSION.length - 3]) {
    const { command = '', request = Buffer.alloc(0) } = OUR_SESSION[index] ?? {}
    test(`after each byte of message ${index}, ${command}`, async () => {
      await served.idle()
      for (let length = 1; length < request.length; length++) {
        await assertGoes(async () => {
          using gifts = new Gifts()
          using client = RawClient.connect(served.path)
          await replay(client, OUR_SESSION.slice(0, index))
          const exchange = OUR_SESSION[index]
          if (exchange === undefined) throw new Error('no such message')
          await client.send(request.subarray(0, length), gifts.of(exchange))
        })
      }
    })
  }

  for (const [count, wait] of [
    [0, 'wait'],
    [1, 'wait'],
    [3, 'wait'],
    [3, 'no'],
    [27, 'wait'],
    [44, 'no'],
    [SESSION.length, 'wait'],
  ] as const) {
    test(`by SIGKILL after ${count} messages${wait === 'no' ? ', the last unanswered' : ''}`, async () => {
      await served.idle()
      const before = resourcesOf()
      const program = fileURLToPath(new URL('session-client.js', import.meta.url))
      const detached = served.detached()
      const child = start(process.execPath, [program, served.path, String(count), wait])
      child.stderr?.pipe(process.stderr)
      await once(child.stdout ?? child, 'data')
      child.kill('SIGKILL')
      await once(child, 'close')
      await detached
      assert.deepEqual(resourcesOf().shared, [])
      const { fds } = resourcesOf()
      assert.deepEqual(
        fds.filter((fd) => /eventfd|memfd|socket/.test(fd)),
        before.fds.filter((fd) => /eventfd|memfd|socket/.test(fd)),
      )
      using next = RawClient.connect(served.path)
      await replay(next, OUR_SESSION)
    })
  }

  test('gives back the address space that its memory was mapped into', async () => {
    await served.idle()
    await collectGarbage(() => resourcesOf().windows > 0)
    assert.equal(resourcesOf().windows, 0)
  })
})
