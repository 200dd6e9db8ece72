import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { framebuffer } from '../../examples/framebuffer.ts'
import { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Scratch } from '../support/scratch.ts'

const MSIX = 2
const SIZE = 256 * 256

test('framebuffer shows what a client draws into mapped memory', async () => {
  using scratch = new Scratch()
  const host = new Host({ driver: framebuffer, log: silentLogger, root: scratch.path })
  try {
    const mdev = await host.create('framebuffer-1', randomUUID())
    const client = await Client.attach(host.socketOf(mdev))
    const interrupts = await client.interrupts(MSIX)
    const { areas } = await client.mapRegion(2)
    const doorbells = await client.doorbells(0)
    const pixels = areas[0]!.bytes
    assert.equal(pixels.length, SIZE * 4)

    for (const [blue, green, red] of [
      [1, 2, 3],
      [0xff, 0, 0x80],
    ] as const) {
      for (let at = 0; at < pixels.length; at += 4) pixels.set([blue, green, red], at)
      doorbells.ring(0, 0)
      await interrupts.next()
      const picture = readFileSync(mdev.status()['screen']!)
      assert.equal(picture.subarray(0, 15).toString(), 'P6 256 256 255\n')
      assert.deepEqual(
        picture.subarray(15),
        Buffer.alloc(SIZE * 3, Uint8Array.of(red, green, blue)),
      )
    }
    await client.reset()
    assert.ok(pixels.every((byte) => byte === 0))
    client.detach()
  } finally {
    host.close()
  }
})
