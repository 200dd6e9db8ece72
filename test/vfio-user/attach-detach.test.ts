/** Clients that come and go by the thousand, in every way: the host has afterwards what it had before. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import { EventFd } from '../../src/os/eventfd.ts'
import { closeFds } from '../../src/os/fd.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { Fds } from '../support/fds.ts'
import { fuzzedDriver } from '../support/fuzz-device.ts'
import { collectGarbage } from '../support/garbage.ts'
import { Scratch } from '../support/scratch.ts'
import { type Resources, resourcesOf } from '../support/resources.ts'
import * as wire from '../support/vfio-user-raw.ts'
import { RawClient } from '../support/vfio-user-raw.ts'
import { UUID } from '../support/vfio-user-served.ts'

const CYCLES = 10_000
/** Cycles after which everything that is made once has been made. */
const WARM_UP = 500
/** What the heap may have grown by, bytes: less than one byte for each cycle would come to it. */
const HEAP_SLACK = 2 * 2 ** 20

const SIZE = 0x1_0000
const VERSION = wire.message(wire.VERSION, wire.versionPayload(wire.QEMU_JSON))

let host: Host
let mdev: MdevDevice
let path: string
let scratch: Scratch
let fds: Fds
let memory: number
let eventfd: number
before(async () => {
  scratch = new Scratch()
  host = new Host({ driver: fuzzedDriver, log: silentLogger, root: scratch.path })
  mdev = await host.create('fuzzed-full', UUID)
  path = host.socketOf(mdev)
  fds = new Fds()
  memory = fds.own(createMemfd('memory', SIZE))
  eventfd = fds.own(EventFd.create().fd)
})
after(() => {
  fds[Symbol.dispose]()
  host.close()
  scratch[Symbol.dispose]()
})

type Visit = (client: RawClient) => Promise<void> | void

/** Says nothing but VERSION. */
async function greet(client: RawClient): Promise<void> {
  wire.assertSuccess(await client.request(wire.VERSION, wire.versionPayload(wire.QEMU_JSON)))
}

/** Gives and takes all that there is to give and to take. */
async function settleIn(client: RawClient): Promise<void> {
  await greet(client)
  const map = wire.dmaMap({ size: SIZE })
  wire.assertSuccess(await client.request(wire.DMA_MAP, map, { fds: [memory] }))
  for (const [index, count] of [
    [0, 1],
    [2, 16],
  ] as const) {
    const given = Array.from({ length: count }, () => eventfd)
    const set = wire.irqSet(0x24, index, 0, count)
    wire.assertSuccess(await client.request(wire.SET_IRQS, set, { fds: given }))
  }
  for (const [command, payload] of [
    [wire.GET_REGION_INFO, Buffer.concat([wire.u32(256, 0, 5, 0), wire.u64(0, 0)])],
    [wire.GET_REGION_IO_FDS, wire.u32(1024, 0, 0, 0)],
  ] as const) {
    const reply = await client.requestFds(command, payload)
    wire.assertSuccess(reply)
    assert.ok(reply.fds.length > 0)
    closeFds(reply.fds)
  }
}

/** Everything at once, and gone before any of it is answered. */
function rush(client: RawClient): void {
  const map = wire.message(wire.DMA_MAP, wire.dmaMap({ size: SIZE }))
  client.sendNow(Buffer.concat([VERSION, map]), [memory])
  const set = wire.message(wire.SET_IRQS, wire.irqSet(0x24, 0, 0, 1))
  client.sendNow(set, [eventfd])
  client.sendNow(wire.message(wire.REGION_READ, wire.access(9, 0, 4096)))
}

/** One of these in turn. */
const VISITS: readonly Visit[] = [
  greet,
  (client) => void client.sendNow(VERSION.subarray(0, 16 + (client.fd % 100))),
  () => {},
  (client) => void client.sendNow(Buffer.alloc(64, 0xff), [memory, eventfd]),
]
/** Every so many clients one stays longer, and one more is in a hurry: mapping memory costs a collection (src/os/arena.ts). */
const MAPPING_EVERY = 100

function visitOf(cycle: number): Visit {
  if (cycle % MAPPING_EVERY === 0) return settleIn
  if (cycle % MAPPING_EVERY === MAPPING_EVERY / 2) return rush
  return VISITS[cycle % VISITS.length] ?? greet
}

/** One client after the other; each has gone before the next comes. */
async function comeAndGo(cycles: number): Promise<void> {
  for (let i = 0; i < cycles; i++) {
    const detached = once(host.events, 'detach')
    {
      using client = RawClient.connect(path)
      await visitOf(i)(client)
    }
    await detached
  }
}

/** What is left when all that can be collected has been. */
async function settledResources(): Promise<Resources & { heap: number }> {
  await collectGarbage(() => resourcesOf().windows > windows)
  return { ...resourcesOf(), heap: process.memoryUsage().heapUsed }
}

/** Of the device itself. */
let windows = 0

test(`${CYCLES} clients come and go, and leave no fd, no mapping and no memory`, async () => {
  windows = resourcesOf().windows
  await comeAndGo(WARM_UP)
  const before = await settledResources()
  await comeAndGo(CYCLES - WARM_UP)
  const now = await settledResources()
  const { fds, shared } = before
  assert.deepEqual(
    { fds: now.fds, shared: now.shared, windows: now.windows },
    { fds, shared, windows },
  )
  assert.ok(
    now.heap < before.heap + HEAP_SLACK,
    `heap: ${before.heap} bytes became ${now.heap} in ${CYCLES - WARM_UP} cycles`,
  )
  assert.equal(mdev.group.user, undefined)
})
