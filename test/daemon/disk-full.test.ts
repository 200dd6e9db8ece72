/** The disk is full while a definition is written: the errno is told, and nothing is torn. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { parseConfig } from '../../src/daemon/config.ts'
import { uuid } from '../mdev/support.ts'
import { Bench } from './bench.ts'

const SMALL = { type: 'test-1', start: 'manual', attributes: [] } as const
/** Two pages. */
const LARGE = { ...SMALL, attributes: [['name', 'x'.repeat(8000)]] } as const

test(
  'a definition on a full disk is ENOSPC, and what was there before is whole',
  { skip: process.geteuid?.() !== 0 && 'only root mounts a small disk' },
  async () => {
    await using bench = new Bench()
    const disk = join(bench.scratch.path, 'disk')
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk])
    try {
      const definitions = join(disk, 'mdevctl.d')
      const daemon = await bench.daemon({ ...parseConfig('', '/x'), definitions, sysfs: false })
      const { client } = bench
      const store = new DefinitionStore(definitions)
      const key = { parent: 'a', uuid: uuid(1) }
      await client.define(key, SMALL)
      const filler = join(disk, 'filler')
      assert.throws(() => writeFileSync(filler, Buffer.alloc(1024 * 1024)), { code: 'ENOSPC' })
      const refused = { code: 'ENOSPC' }
      await assert.rejects(client.define(key, LARGE, { replace: true }), refused)
      await assert.rejects(client.define({ parent: 'a', uuid: uuid(2) }, LARGE), refused)
      await assert.rejects(client.define({ parent: 'b', uuid: uuid(2) }, LARGE), refused)
      assert.deepEqual(readdirSync(join(definitions, 'a')), [uuid(1)]) // nothing unfinished either
      assert.deepEqual(store.read(key), SMALL)
      const { mdevs, faults } = await client.list()
      assert.deepEqual([mdevs, faults], [[{ ...key, definition: SMALL }], []])
      rmSync(filler)
      await client.define(key, LARGE, { replace: true })
      assert.deepEqual(store.read(key), LARGE)
      await daemon.close()
    } finally {
      execFileSync('umount', ['-l', disk])
    }
  },
)

test(
  'an mdev whose files find no room in the run-time root is ENOSPC, and nothing of it is left',
  { skip: process.geteuid?.() !== 0 && 'only root mounts a small disk' },
  async () => {
    await using bench = new Bench()
    mkdirSync(bench.root)
    execFileSync('mount', [
      '-t',
      'tmpfs',
      '-o',
      'size=1m,nr_inodes=64,mode=0700',
      'tmpfs',
      bench.root,
    ])
    try {
      const daemon = await bench.daemon()
      const { parent } = bench.host('a')
      const { client } = bench
      for await (const event of client.events())
        if (event.action === 'snapshot' ? event.parents.length > 0 : 'view' in event) break
      const filler = (number: number) => join(bench.root, `filler-${number}`)
      let count = 0
      assert.throws(
        () => {
          for (; ; count++) writeFileSync(filler(count), '')
        },
        { code: 'ENOSPC' },
      )
      const wanted = { parent: 'a', type: 'test-1', uuid: uuid(1) }
      // no directory; a directory, and no lock; a lock, and no socket
      for (let free = 0; free < 3; free++) {
        await assert.rejects(client.start(wanted), { code: 'ENOSPC' }, `${free} files have room`)
        assert.deepEqual([parent.mdevs, (await client.list()).mdevs], [[], []])
        rmSync(filler(--count))
      }
      for (; count > 0; count--) rmSync(filler(count - 1))
      assert.equal((await client.start(wanted)).state, 'active')
      await client.stop(uuid(1))
      await daemon.close()
    } finally {
      execFileSync('umount', ['-l', bench.root])
    }
  },
)
