/** poll(2) on a file of the tree, as programs use it on those of sysfs: POLLERR and POLLPRI say that it is to be read again. */
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { compileC } from '../support/cc.ts'
import { ended } from '../support/child.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { mountForTests } from './mounted.ts'

test('poll() tells of a file that was never read, has changed, or has gone; and waits otherwise', async () => {
  const { mounted, release } = await mountForTests()
  try {
    using scratch = new Scratch()
    const program = `${scratch.path}/poll`
    compileC(`${PROJECT}test/fuse/poll.c`, program)

    assert.equal(
      await mounted.says(`${program} "$M"/value look read look read`),
      '0xa\none\n0\none\n',
    )

    const commands = 'read look wait look read wait read'
    const waiter = mounted.begin(`exec ${program} "$M"/value ${commands}`)
    const lines = createInterface({ input: waiter.stdout! })[Symbol.asyncIterator]()
    const line = async () => (await lines.next()).value
    assert.equal(await line(), 'one')
    assert.equal(await line(), '0')
    await mounted.ask('set two')
    assert.equal(await line(), '0xa')
    assert.equal(await line(), '0xa', 'until it is read again')
    assert.equal(await line(), 'two')
    await mounted.ask('set three')
    assert.equal(await line(), '0xa')
    assert.equal(await line(), 'three')
    await ended(waiter)

    await mounted.ask('add abc')
    const mourner = mounted.begin(`exec ${program} "$M"/many/abc/name read wait read`)
    const last = createInterface({ input: mourner.stdout! })[Symbol.asyncIterator]()
    assert.equal((await last.next()).value, 'abc')
    await mounted.ask('remove abc')
    assert.equal((await last.next()).value, '0xa')
    assert.equal((await last.next()).value, 'No such device')
  } finally {
    await release()
  }
})
