/** Answers to our own requests, right and wrong, on the only socket there is (sections 2, 12 and 19 of the reference). */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { closeFd } from '../../src/os/fd.ts'
import { makePipe, openFds } from '../support/fds.ts'
import { REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  message,
  NO_REPLY,
  RawClient,
  type RawReply,
  REGION_WRITE,
  u16,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const DMA_READ = 11
const DMA_WRITE = 12
const IOVA = 0x10_0000

let served: Served
let device: TestDevice
let client: RawClient
let target: Buffer
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  client = await RawClient.attach(served.path)
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // bus master
  assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: IOVA })))
  target = Buffer.alloc(4)
})
afterEach(() => {
  client.close()
  served[Symbol.dispose]()
})

/** Has the device read 4 bytes. @returns what it asks the client, and what comes of it */
async function ask(): Promise<{ asked: RawReply; done: Promise<unknown> }> {
  const done = Promise.resolve(device.dma.read(IOVA, target)).then(
    () => 'done',
    (error: unknown) => error,
  )
  return { asked: await client.reply(), done }
}

/** The payload of the answer. */
const data = (text: string) => Buffer.concat([u64(IOVA, text.length), Buffer.from(text)])

async function answer(
  { id }: RawReply,
  payload: Uint8Array,
  { command = DMA_READ, flags = 1, error = 0 } = {},
): Promise<void> {
  await client.send(message(command, payload, { id, flags, error }))
}

describe('a request of ours', () => {
  test('is sent after the reply to the command that it comes from', async () => {
    const writes: unknown[] = []
    device.onWrite = () => void writes.push(device.dma.write(IOVA, Buffer.from('data')))
    const write = message(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1)), { id: 9 })
    await client.send(Buffer.concat([write, write]))
    assert.deepEqual([(await client.reply()).id, (await client.reply()).id], [9, 9])
    const asked = [await client.reply(), await client.reply()]
    assert.deepEqual(
      asked.map(({ command, flags, payload }) => [command, flags, payload.toString('utf8', 16)]),
      [
        [DMA_WRITE, 0, 'data'],
        [DMA_WRITE, 0, 'data'],
      ],
    )
    assert.notEqual(asked[0]?.id, asked[1]?.id)
    for (const each of asked) await answer(each, Buffer.alloc(0), { command: DMA_WRITE })
    await Promise.all(writes)
  })

  test('carries no fd, which QEMU would leak', async () => {
    const { asked } = await ask()
    assert.deepEqual(asked.fds, [])
  })

  test('may be asked within a posted write, and answered before the next command', async () => {
    device.onWrite = () => void device.dma.read(IOVA, target)
    const write = message(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1)), { flags: NO_REPLY })
    await client.send(write)
    const asked = await client.reply()
    await answer(asked, data('mine'))
    await client.assertAlive()
    assert.equal(target.toString(), 'mine')
  })
})

describe('an answer', () => {
  test('with an id that was never asked is dropped', async () => {
    const { asked, done } = await ask()
    await answer({ ...asked, id: (asked.id + 1) & 0xffff }, data('evil'))
    await client.assertAlive()
    assert.deepEqual(target, Buffer.alloc(4))
    await answer(asked, data('good'))
    assert.equal(await done, 'done')
    assert.equal(target.toString(), 'good')
  })

  test('of another command is dropped', async () => {
    const { asked, done } = await ask()
    for (const command of [DMA_WRITE, REGION_WRITE, 99])
      await answer(asked, data('evil'), { command })
    await client.assertAlive()
    await answer(asked, data('good'))
    assert.equal(await done, 'done')
    assert.equal(target.toString(), 'good')
  })

  test('that comes twice counts once', async () => {
    const { asked, done } = await ask()
    await answer(asked, data('good'))
    await answer(asked, data('evil'))
    assert.equal(await done, 'done')
    await client.assertAlive()
    assert.equal(target.toString(), 'good')
  })

  test('that brings too little is EPROTO, and the connection lives', async () => {
    const { asked, done } = await ask()
    await answer(asked, data('').subarray(0, 3))
    assert.equal(((await done) as { code: string }).code, 'EPROTO')
    await client.assertAlive()
  })

  for (const [error, code] of [
    [19, 'ENODEV'],
    [0, 'EIO'],
    [4096, 'EIO'],
    [2 ** 32 - 1, 'EIO'],
  ] as const) {
    test(`that refuses with errno ${error} is ${code}`, async () => {
      const { asked, done } = await ask()
      await answer(asked, Buffer.alloc(0), { flags: 0x21, error })
      assert.equal(((await done) as { code: string }).code, code)
      await client.assertAlive()
    })
  }

  test('with fds is taken, and they are closed', async () => {
    const { asked, done } = await ask()
    const before = openFds()
    const pipe = makePipe()
    await client.send(message(DMA_READ, data('good'), { id: asked.id, flags: 1 }), pipe)
    for (const fd of pipe) closeFd(fd)
    assert.equal(await done, 'done')
    assert.deepEqual(openFds(), before)
  })

  test('that never comes, because the client goes, is ECONNRESET', async () => {
    const { done } = await ask()
    client.close()
    assert.equal(((await done) as { code: string }).code, 'ECONNRESET')
    client = await RawClient.attach(served.path)
    await client.assertAlive()
  })

  test('of the client before is nobody’s', async () => {
    const { asked } = await ask()
    client.close()
    await served.idle()
    client = await RawClient.attach(served.path)
    await answer(asked, data('evil'))
    await client.assertAlive()
    assert.deepEqual(target, Buffer.alloc(4))
  })
})

test('a refusal that nobody is told of is counted and logged', async () => {
  const { refused } = served.stats
  await client.send(message(REGION_WRITE, access(99, 0, 4, u32(0)), { flags: NO_REPLY }))
  await client.assertAlive()
  assert.equal(served.stats.refused, refused + 1)
  assert.ok(served.lines.some((line) => line.includes('region 99: not there')))
})
