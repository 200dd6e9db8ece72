/** DEVICE_RESET, and the resets that a guest makes: section 13 of the reference. */
import assert from 'node:assert/strict'
import { ftruncateSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { EventFd } from '../../src/os/eventfd.ts'
import { Fds, makeMemfd, MFD_ALLOW_SEALING, openFds } from '../support/fds.ts'
import { MSIX_BAR, MSIX_PBA, REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  irqSet,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  RESET,
  SET_IRQS,
  u16,
  u32,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const CONFIG = 7

let served: Served
let device: TestDevice
let client: RawClient
before(async () => {
  ;({ served, device } = await serveTestDevice())
})
after(() => served[Symbol.dispose]())
beforeEach(async () => {
  client = await RawClient.attach(served.path)
  device.resets.length = 0
})
afterEach(async () => {
  client.close()
  await served.idle()
})

async function read(region: number, offset: number, count: number): Promise<Buffer> {
  const reply = await client.request(REGION_READ, access(region, offset, count))
  assertSuccess(reply)
  return reply.payload.subarray(16)
}

async function write(region: number, offset: number, data: Buffer): Promise<void> {
  assertSuccess(await client.request(REGION_WRITE, access(region, offset, data.length, data)))
}

describe('DEVICE_RESET', () => {
  test('tells the driver, and answers with a header alone', async () => {
    const reply = await client.request(RESET)
    assertSuccess(reply)
    assert.equal(reply.size, 16)
    assert.deepEqual(device.resets, ['device'])
  })

  test('puts registers and config space back to their power-on state', async () => {
    const config = await read(CONFIG, 0, 256)
    await write(0, 0x10, u32(0xdeadbeef))
    await write(CONFIG, 0x04, u16(0x0407))
    await write(CONFIG, 0x10, u32(0xfebf0000))
    await write(CONFIG, 0x3c, Buffer.of(11))
    assert.notDeepEqual(await read(CONFIG, 0, 256), config)
    assertSuccess(await client.request(RESET))
    assert.deepEqual(await read(CONFIG, 0, 256), config)
    assert.deepEqual(await read(0, 0x10, 4), u32(0))
  })

  test('keeps DMA maps', async () => {
    using fds = new Fds()
    const fd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
    ftruncateSync(fd, 0x1000)
    assertSuccess(await client.request(DMA_MAP, dmaMap(), { fds: [fd] }))
    assertSuccess(await client.request(RESET))
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap()))
  })

  test('keeps eventfds: INTx goes on through the one that was assigned', async () => {
    using eventfd = EventFd.create()
    assertSuccess(await client.request(SET_IRQS, irqSet(0x24, 0, 0, 1), { fds: [eventfd.fd] }))
    const before = openFds()
    assertSuccess(await client.request(RESET))
    assert.deepEqual(openFds(), before)
    assert.equal(eventfd.drain(), false)
    await write(0, REGISTER.intx, u32(1))
    assert.equal(eventfd.drain(), true)
  })

  test('forgets pending interrupts', async () => {
    await write(0, REGISTER.msix, u32(3))
    assert.deepEqual(await read(MSIX_BAR, MSIX_PBA, 4), u32(1 << 3))
    await write(0, REGISTER.intx, u32(1))
    assertSuccess(await client.request(RESET))
    assert.deepEqual(await read(MSIX_BAR, MSIX_PBA, 4), u32(0))
    using eventfd = EventFd.create()
    for (const index of [0, 2]) {
      const start = index === 0 ? 0 : 3
      assertSuccess(
        await client.request(SET_IRQS, irqSet(0x24, index, start, 1), { fds: [eventfd.fd] }),
      )
      assert.equal(eventfd.drain(), false, `irq index ${index}`)
    }
  })

  test('refuses a payload with EINVAL, resets nothing, and lives', async () => {
    assertRefused(await client.request(RESET, Buffer.alloc(1)), 'EINVAL')
    assert.deepEqual(device.resets, [])
    await client.assertAlive()
  })

  test('comes with the end of a connection too: the next client finds the power-on state', async () => {
    await write(0, 0x10, u32(0xdeadbeef))
    await write(CONFIG, 0x04, u16(7))
    client.close()
    await served.idle()
    assert.deepEqual(device.resets, ['disconnect'])
    client = await RawClient.attach(served.path)
    assert.deepEqual(await read(0, 0x10, 4), u32(0))
    assert.deepEqual(await read(CONFIG, 0x04, 2), u16(0))
  })
})
