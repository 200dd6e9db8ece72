/** Users at the other end of a UNIX socket: the kernel knows them, and the lists say what they may do. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { accessByPeer, type Users } from '../../src/daemon/peer-access.ts'
import { Api, ask, refusalIn } from '../http/support.ts'

const US = process.geteuid?.() ?? 0
const OTHERS = [US + 1, 0xffff_ffff]

/** Statuses of reading and of writing. */
async function statuses(users: Users): Promise<readonly number[]> {
  await using api = await Api.start({ rule: accessByPeer(users) })
  const read = await api.ask('GET', '/v1/parents')
  const written = await api.ask('POST', '/v1/mdevs', {})
  return [read.status, written.status]
}

describe('accessByPeer()', () => {
  for (const [title, users, expected] of [
    ['admins do all', { admin: [US], read: [] }, [200, 400]],
    ['readers read', { admin: OTHERS, read: [US] }, [200, 403]],
    ['everyone read, if they may', { admin: OTHERS, read: 'everyone' }, [200, 403]],
    ['others do nothing', { admin: OTHERS, read: OTHERS }, [403, 403]],
  ] as const) {
    test(`lets ${title}`, async () => {
      assert.deepEqual(await statuses(users), expected)
    })
  }

  test('lets nobody in over TCP, where the kernel knows no user', async () => {
    await using api = await Api.start()
    const rule = accessByPeer({ admin: [...OTHERS, US], read: 'everyone' })
    const port = await api.server.listen({ host: '127.0.0.1', port: 0 }, rule)
    const reply = await ask({ host: '127.0.0.1', port: port ?? 0 }, 'GET', '/v1/parents')
    assert.deepEqual(refusalIn(reply), [403, 'EACCES'])
  })
})
