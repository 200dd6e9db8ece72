/** A thousand devices in one host, each with a client, its interrupts and its memory. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { randomUUID } from 'node:crypto'
import { defineDriver, type IrqVector } from '../../src/index.ts'
import { Host } from '../../src/host/host.ts'
import { createLogger } from '../../src/lib/log.ts'
import { EventFd } from '../../src/os/eventfd.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { Fds, openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'
import {
  access,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  irqSet,
  RawClient,
  REGION_READ,
  SET_IRQS,
  u32,
} from '../support/vfio-user-raw.ts'

const DEVICES = 1000
/** Clients that attach at once. */
const AT_ONCE = 50
const BAR_SIZE = 0x1000
/** A listening socket, the lock of its UUID, and that of its group. */
const FDS_PER_DEVICE = 3
/** The connection, one eventfd for INTx and one for each vector; the memory may keep one. */
const FDS_PER_CLIENT = 4
const VECTORS = 2

/** Cards that know their number, and can be made to interrupt. */
const vectors: (readonly IrqVector[])[] = []
const driver = defineDriver({
  name: 'many',
  types: { 1: { name: 'One of many' } },
  probe(mdev) {
    const number = vectors.length
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    pci.intx()
    vectors.push(pci.msix(VECTORS, { bar: 4 }))
    pci.bar(0, { kind: 'mem32', size: BAR_SIZE }, { read: () => number, write: () => {} })
    return { reset: () => {} }
  },
})

describe(`${DEVICES} connected devices`, () => {
  const scratch = new Scratch()
  const fds = new Fds()
  const clients: RawClient[] = []
  const interrupts: EventFd[] = []
  let host: Host
  let fdsBefore: number
  before(async () => {
    fdsBefore = openFds().length
    host = new Host({ driver, log: createLogger('error'), root: scratch.path })
    const memory = fds.own(createMemfd('memory', 0x10000))
    const shared = EventFd.create()
    fds.own(shared.fd)
    const attach = async (path: string) => {
      const client = await RawClient.attach(path)
      const own = EventFd.create()
      fds.own(own.fd)
      const map = dmaMap({ size: 0x10000 })
      assertSuccess(await client.request(DMA_MAP, map, { fds: [memory] }))
      assertSuccess(await client.request(SET_IRQS, irqSet(0x24, 0, 0, 1), { fds: [shared.fd] }))
      const both = [own.fd, shared.fd]
      assertSuccess(await client.request(SET_IRQS, irqSet(0x24, 2, 0, VECTORS), { fds: both }))
      return { client, own }
    }
    for (let i = 0; i < DEVICES / AT_ONCE; i++) {
      const paths: string[] = []
      for (let j = 0; j < AT_ONCE; j++)
        paths.push(host.socketOf(await host.create('many-1', randomUUID())))
      for (const { client, own } of await Promise.all(paths.map(attach))) {
        clients.push(client)
        interrupts.push(own)
      }
    }
  })
  after(() => {
    for (const client of clients) client.close()
    fds[Symbol.dispose]()
    host.close()
    scratch[Symbol.dispose]()
  })

  test('hold a few fds each', () => {
    const mine = 2 // the client's end, and its eventfd
    const each = (openFds().length - fdsBefore) / DEVICES - mine
    assert.ok(each <= FDS_PER_DEVICE + FDS_PER_CLIENT + 1, `${each} fds each`)
  })

  test('each answer their own client, all asking at once', async () => {
    const replies = await Promise.all(
      clients.map((client) => client.request(REGION_READ, access(0, 0, 4))),
    )
    for (const [number, reply] of replies.entries()) {
      assertSuccess(reply)
      assert.deepEqual(reply.payload.subarray(16), u32(number))
    }
  })

  test('each interrupt their own client', () => {
    for (const [number, [vector]] of vectors.entries()) {
      assert.equal(interrupts[number]!.drain(), false)
      vector!.trigger()
      assert.equal(interrupts[number]!.drain(), true)
    }
  })

  test('are served one after the other while the others do nothing', async () => {
    for (const client of [clients[0]!, clients[DEVICES / 2]!, clients.at(-1)!]) {
      for (let i = 0; i < 50; i++) assertSuccess(await client.request(REGION_READ, access(0, 0, 4)))
    }
  })

  test('take new clients when all have gone', async () => {
    const paths = host.parent.mdevs.map((mdev) => host.socketOf(mdev))
    for (const client of clients.splice(0)) client.close()
    const next = await Promise.all(paths.map((path) => RawClient.attach(path)))
    clients.push(...next)
    assert.equal(clients.length, DEVICES)
  })
})
