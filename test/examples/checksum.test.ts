import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { checksum } from '../../examples/checksum.ts'
import { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Scratch } from '../support/scratch.ts'

const [ADDRESS, ADDRESS_HIGH, LENGTH, SUM, STATUS] = [0, 4, 8, 12, 16]
const CONFIG = 7
const MSIX = 2

for (const shared of [true, false]) {
  test(`checksum adds up client memory, ${shared ? 'shared' : 'asked for by message'}, and interrupts`, async () => {
    using scratch = new Scratch()
    const host = new Host({ driver: checksum, log: silentLogger, root: scratch.path })
    try {
      const mdev = await host.create('checksum-1', randomUUID())
      const client = await Client.attach(host.socketOf(mdev))
      const memory = await client.map(0x1_0000_0000, 64 * 1024, { shared })
      memory.bytes.fill(3)
      const interrupts = await client.interrupts(MSIX)

      const run = async (low: number, high: number, length: number) => {
        await client.writeRegister(0, ADDRESS, low, 4)
        await client.writeRegister(0, ADDRESS_HIGH, high, 4)
        await client.writeRegister(0, LENGTH, length, 4)
        await interrupts.next()
        return client.readRegister(0, STATUS, 4)
      }

      assert.equal(await run(16, 1, 1000), 2, 'bus mastering is off at power-on')
      await client.writeRegister(CONFIG, 4, 0x6, 2) // Command: memory space, bus master
      assert.equal(await run(16, 1, 1000), 1)
      assert.equal(await client.readRegister(0, SUM, 4), 3000)
      assert.equal(await run(0, 0, 1), 2, 'nothing is mapped there')

      await memory.unmap()
      assert.equal(await run(16, 1, 1000), 2, 'unmapped')
      await client.reset()
      assert.equal(await client.readRegister(0, STATUS, 4), 0)
      client.detach()
    } finally {
      host.close()
    }
  })
}
