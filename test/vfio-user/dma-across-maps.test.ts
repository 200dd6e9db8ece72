/** Transfers of a device that begin in memory which the client is asked for, and end where there is none. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  RawClient,
  REGION_WRITE,
  u16,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const PAGE = 4096
const CONFIG = 7
const COMMAND = 4
const MEMORY_AND_BUS_MASTER = 6

let served: Served
let device: TestDevice
before(async () => {
  ;({ served, device } = await serveTestDevice())
})
after(() => served[Symbol.dispose]())

/** A client with one page of memory without a file, whose guest lets the device use it. */
async function attach(): Promise<RawClient> {
  const client = await RawClient.attach(served.path)
  assertSuccess(await client.request(DMA_MAP, dmaMap({ size: PAGE })))
  const command = access(CONFIG, COMMAND, 2, u16(MEMORY_AND_BUS_MASTER))
  assertSuccess(await client.request(REGION_WRITE, command))
  return client
}

for (const verb of ['read', 'write'] as const) {
  // Found by fuzzing: nobody waited for what was asked of the client, so its failure ended the host.
  test(`dma.${verb}() beyond a map without a file is EFAULT, also when the client goes without answering`, async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', note)
    try {
      const detached = served.detached()
      const client = await attach()
      const transfer = async () => device.dma[verb](PAGE / 2, new Uint8Array(PAGE))
      const refused = assert.rejects(transfer, { code: 'EFAULT' })
      client.close()
      await detached
      await refused
      assert.deepEqual(unhandled, [])
    } finally {
      process.off('unhandledRejection', note)
    }
  })
}
