import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accessCase } from '../../bench/client.ts'
import { Running } from '../../bench/server.ts'
import { startServers } from '../../bench/servers.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

for (const access of ['read', 'write', 'post'] as const) {
  for (const polls of [false, true]) {
    test(`accessCase() times a ${polls ? 'polling' : 'blocking'} ${access} of the echo and of a host`, async () => {
      using scratch = new Scratch()
      const bench = smallBench(scratch)
      await using running = new Running()
      const servers = await startServers(running, [bench.echo, ...bench.hosts], 'same', bench)
      const accesses = { access, polls, count: 20, rehearsal: 20, batch: 5 }
      const { contestants } = accessCase(bench, servers, 'same', accesses, [], { p50: 1.5 })
      assert.deepEqual(
        contestants.map(({ name, targets }) => ({ name, targets })),
        [
          { name: 'C echo', targets: undefined },
          { name: 'mdevkit', targets: { p50: 1.5 } },
        ],
      )
      for (const contestant of contestants) {
        await contestant.rehearse!()
        const pids: number[] = []
        const figures = await contestant.measure(async (measured, work) => {
          pids.push(...measured)
          return work()
        })
        assert.equal(pids.length, 2)
        assert.ok(figures['p50']! > 0 && figures['p50']! <= figures['p99']!)
        assert.ok(figures['cpu']! > 0)
        assert.ok(figures['messages']! > 4, 'with those of the warm-up')
      }
    })
  }
}
