import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileC } from '../../bench/c-programs.ts'
import { type Attached, runAttach, startAttach } from '../../bench/attach-client.ts'
import { Running } from '../../bench/server.ts'
import { startServers } from '../../bench/servers.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

const STEPS = [
  'VERSION',
  'GET_INFO',
  'GET_REGION_INFO',
  'GET_IRQ_INFO',
  'DMA_MAP',
  'SET_IRQS',
  'REGION_READ',
]

/** Attaches to a host of two devices. */
async function attached(...options: readonly string[]): Promise<Attached> {
  using scratch = new Scratch()
  const bench = smallBench(scratch)
  const program = compileC('attach', scratch.path)
  await using running = new Running()
  const [server] = await startServers(running, bench.hosts, 'same', bench, { devices: 2 })
  await using child = await startAttach(program, bench.allowed[0]!, server!, options)
  return await runAttach(child)
}

test('attach --cycles attaches to the first device again and again, and times each reply', async () => {
  const { attach, replies } = await attached('--cycles', '5')
  assert.equal(attach.n, 5)
  assert.deepEqual(Object.keys(replies), [...STEPS, 'all'])
  assert.deepEqual(
    Object.values(replies).map(({ n }) => n),
    [...STEPS.map(() => 5), 5 * STEPS.length],
  )
  for (const { p50, p99, p999, max } of [attach, ...Object.values(replies)]) {
    assert.ok(p50 > 0 && p50 <= p99 && p99 <= p999 && p999 <= max)
  }
})

test('attach --bursts attaches to all devices at once', async () => {
  const { attach, replies } = await attached('--bursts', '3')
  assert.equal(attach.n, 6)
  assert.ok(Object.values(replies).every(({ n }) => n === 6 || n === 6 * STEPS.length))
})
