/** The example tickets: what its devices share, from one registration of their parent to the next. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { tickets } from '../../examples/tickets.ts'
import { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Scratch } from '../support/scratch.ts'

const UUIDS = [1, 2].map((number) => `83b8f4f2-509f-382f-3c1e-e6bfe0fa100${number}`)

/** A parent with the file, and a client of each of two mdevs on it. */
async function open(root: string, file: string) {
  const settings = [['file', file]] as const
  const host = await Host.register({ driver: tickets, log: silentLogger, root, settings })
  const clients: Client[] = []
  for (const uuid of UUIDS)
    clients.push(await Client.attach(host.socketOf(await host.create('tickets-1', uuid))))
  return { host, clients }
}

test('tickets are drawn by all devices from one roll, which goes on where it was', async () => {
  using scratch = new Scratch()
  const file = join(scratch.path, 'next')
  writeFileSync(file, '41\n')
  for (const numbers of [
    [41, 42, 43],
    [44, 45, 46],
  ]) {
    const { host, clients } = await open(scratch.path, file)
    const [first, second] = clients
    const drawn: unknown[] = []
    for (const client of [first, second, first]) drawn.push(await client?.readRegister(0, 0, 4))
    const status = host.parent.status()
    for (const client of clients) client.detach()
    host.close()
    await host.closed
    assert.deepEqual([drawn, status], [numbers, { next: String(Number(numbers[2]) + 1) }])
  }
  assert.equal(readFileSync(file, 'utf8'), '47\n')
})

test('a parent of tickets is not registered without its file, or with another one', async () => {
  using scratch = new Scratch()
  const file = join(scratch.path, 'next')
  await assert.rejects(open(scratch.path, file), { code: 'ENOENT' })
  writeFileSync(file, 'nonsense')
  await assert.rejects(open(scratch.path, file), { code: 'EINVAL', message: /holds no number/ })
})
