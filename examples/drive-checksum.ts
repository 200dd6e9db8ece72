/** Drives the device of checksum.ts without a VM: this program is the guest. Its argument is the device's socket. */
import { Client, IRQ, REGION } from 'mdevkit/client'

const ADDRESS = 0x00
const LENGTH = 0x08
const SUM = 0x0c
const STATUS = 0x10
const STATUS_DONE = 1
const COMMAND = 0x04
const COMMAND_MASTER = 1 << 2
const IOVA = 0x1_0000_0000

const [socket = ''] = process.argv.slice(2)
const client = await Client.attach(socket)
try {
  const vendor = await client.config.readU16(0x00)
  const device = await client.config.readU16(0x02)
  console.log(`device ${vendor.toString(16)}:${device.toString(16)}`)

  const memory = await client.map(IOVA, 64 * 1024)
  memory.bytes.fill(3)
  const interrupts = await client.interrupts(IRQ.msix)
  await client.config.writeU16(COMMAND, COMMAND_MASTER)

  const bar0 = client.region(REGION.bar0)
  await bar0.writeU64(ADDRESS, BigInt(IOVA))
  bar0.postU32(LENGTH, 1000)
  await interrupts.next(0, { signal: AbortSignal.timeout(5000) })
  if ((await bar0.readU32(STATUS)) !== STATUS_DONE) throw new Error('the memory could not be read')
  console.log(`sum ${await bar0.readU32(SUM)}`)

  let count = 0
  bar0.postU32(LENGTH, 1000)
  for await (const more of interrupts.vector(0)) {
    count += more
    if (count >= 3) break
    bar0.postU32(LENGTH, 1000)
  }
  console.log(`interrupts ${count}`)

  await interrupts.disable()
  await memory.unmap()
  await client.reset()
} finally {
  client.detach()
}
