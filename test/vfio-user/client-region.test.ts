/** A region as a program uses it: registers by width, acknowledged and posted, and all of it at once. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { Client, REGION } from '../../src/vfio-user/client.ts'
import { BIG_SIZE, REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

let served: Served
let device: TestDevice
let client: Client
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  client = await Client.attach(served.path)
})
afterEach(() => {
  client.detach()
  served[Symbol.dispose]()
})

describe('ClientRegion', () => {
  test('writes and reads registers of 1, 2, 4 and 8 bytes, little-endian', async () => {
    const bar = client.region(REGION.bar0)
    await bar.writeU64(0x10, 0xfedc_ba98_7654_3210n)
    assert.equal(device.scratch.toString('hex', 0x10, 0x18), '1032547698badcfe')
    assert.equal(await bar.readU64(0x10), 0xfedc_ba98_7654_3210n)
    assert.equal(await bar.readU32(0x14), 0xfedc_ba98)
    assert.equal(await bar.readU16(0x12), 0x7654)
    assert.equal(await bar.readU8(0x17), 0xfe)
    await bar.writeU32(0x20, 0xffff_fffe)
    await bar.writeU16(0x24, 0xfffd)
    await bar.writeU8(0x26, 0xfc)
    assert.equal(device.scratch.toString('hex', 0x20, 0x28), 'fefffffffdfffc00')
  })

  test('posts registers: a read that follows finds them', async () => {
    const bar = client.region(REGION.bar0)
    bar.postU8(0, 0x12)
    bar.postU16(2, 0x3456)
    bar.postU32(4, 0x789a_bcde)
    bar.postU64(8, 1n)
    bar.post(0x10, Buffer.from('run'))
    assert.deepEqual(
      Buffer.from(await bar.read(0, 0x13)).toString('hex'),
      '12005634debc9a78010000000000000072756e',
    )
  })

  test('refuses a value that does not fit with RangeError, before it is sent', async () => {
    const bar = client.region(REGION.bar0)
    await assert.rejects(bar.writeU8(0, 256), RangeError)
    await assert.rejects(bar.writeU16(0, -1), RangeError)
    await assert.rejects(bar.writeU32(0, 2 ** 32), RangeError)
    await assert.rejects(bar.writeU64(0, 2n ** 64n), RangeError)
    assert.throws(() => bar.postU32(0, 2 ** 32), RangeError)
    assert.deepEqual(device.log, [])
  })

  test('hears of a refusal where it waits, and not where it posts', async () => {
    const bar = client.region(REGION.bar0)
    await assert.rejects(bar.writeU32(REGISTER.refusing, 1), { code: 'ENODEV' })
    await assert.rejects(bar.readU32(REGISTER.refusing), { code: 'ENODEV' })
    bar.postU32(REGISTER.refusing, 1)
    await bar.readU32(0)
  })

  test('says what it is', async () => {
    assert.deepEqual(await client.region(REGION.bar2).info(), { flags: 3, size: BIG_SIZE })
    assert.equal(client.region(REGION.bar2).index, 2)
    await assert.rejects(client.region(REGION.bar0).map(), { code: 'EOPNOTSUPP' })
  })

  test('reads all of configuration space', async () => {
    const config = Buffer.from(await client.config.readAll())
    assert.equal(config.length, 256)
    assert.equal(config.readUInt16LE(0), 0x1b36)
    assert.equal(await client.config.readU16(2), config.readUInt16LE(2))
  })

  test('reads all of a region that is larger than one transfer', async () => {
    for (let at = 0; at < BIG_SIZE; at += 4) device.big.writeUInt32LE(at, at)
    assert.ok(device.big.equals(await client.region(REGION.bar2).readAll()))
  })

  test('reads nothing of a region that is not there', async () => {
    assert.deepEqual(await client.region(REGION.bar5).readAll(), new Uint8Array(0))
  })
})

describe('Client', () => {
  test('detaches at the end of its scope', async () => {
    client.detach()
    await served.idle()
    {
      using other = await Client.attach(served.path)
      await other.info()
    }
    await served.idle()
    client = await Client.attach(served.path)
  })

  test('unmaps memory at the end of its scope, once', async () => {
    {
      await using memory = await client.map(0x1000, 0x1000)
      memory.bytes.fill(1)
    }
    {
      await using memory = await client.map(0x1000, 0x1000)
      await memory.unmap()
      await memory.unmap()
    }
    {
      await using memory = await client.map(0x1000, 0x1000)
      memory.bytes.fill(1)
      client.detach()
    }
  })
})
