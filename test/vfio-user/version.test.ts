/** VERSION: what is proposed, what is answered, and what ends the connection (section 5 of the reference). */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Fds, makeMemfd, openFds } from '../support/fds.ts'
import {
  assertRefused,
  assertSuccess,
  GET_INFO,
  message,
  NO_REPLY,
  QEMU_JSON,
  RawClient,
  type RawReply,
  u16,
  u32,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

let served: Served
before(async () => ({ served } = await serveTestDevice()))
after(() => served[Symbol.dispose]())

/** Section 5.1: the size of QEMU's request, into whose buffer it receives the reply. */
const QEMU_LIMIT = 214

const JSON_4096 = `{"capabilities":{},"x":"${'y'.repeat(4096 - 27)}"}`

/** What a client may propose, and whether it speaks of REGION_WRITE_MULTI. */
const PROPOSALS: readonly [title: string, json: string | undefined, multiple?: true][] = [
  ['QEMU 11.1.3', QEMU_JSON, true],
  [
    'Cloud Hypervisor',
    '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}',
  ],
  ['SPDK, without JSON', undefined],
  ['an empty object', '{}'],
  ['empty capabilities', '{"capabilities":{}}'],
  ['unknown keys', '{"x":[1],"capabilities":{"y":null,"z":{"max_msg_fds":"8"}}}'],
  ['a twin socket that it does not want', '{"capabilities":{"twin_socket":{"supported":false}}}'],
  ['a twin socket of which it says nothing', '{"capabilities":{"twin_socket":{}}}'],
  [
    'a twin socket that it has no room for',
    '{"capabilities":{"max_msg_fds":0,"twin_socket":{"supported":true}}}',
  ],
  ['1024 fds', '{"capabilities":{"max_msg_fds":1024}}'],
  ['every page size that a u64 has', '{"capabilities":{"pgsizes":18446744073709547520}}'],
  ['no REGION_WRITE_MULTI', '{"capabilities":{"write_multiple":false}}'],
  ['4 KiB of JSON, the NUL included', JSON_4096],
]

function jsonOf(reply: RawReply): { capabilities: Record<string, unknown> } {
  const text = reply.payload.toString('utf8', 4)
  assert.equal(text.indexOf('\0'), text.length - 1, 'one NUL, at the end')
  return JSON.parse(text.slice(0, -1)) as { capabilities: Record<string, unknown> }
}

describe('VERSION', () => {
  for (const [title, json, multiple = false] of PROPOSALS) {
    test(`answers ${title} with our capabilities, in 214 bytes at most`, async () => {
      using client = RawClient.connect(served.path)
      const reply = await client.request(VERSION, versionPayload(json))
      assertSuccess(reply)
      assert.ok(reply.size <= QEMU_LIMIT, `${reply.size} bytes`)
      assert.deepEqual(reply.payload.subarray(0, 4), u16(0, 0))
      assert.deepEqual(jsonOf(reply), {
        capabilities: {
          max_msg_fds: 16,
          max_data_xfer_size: 1048576,
          max_dma_maps: 65535,
          pgsizes: 4096,
          write_multiple: multiple,
        },
      })
      await client.assertAlive()
    })
  }

  test('the longest JSON of these tests is as long as it says', () => {
    assert.equal(Buffer.byteLength(`${JSON_4096}\0`), 4096)
  })

  for (const [proposed, answered] of [
    [0, 0],
    [1, 1],
    [2, 2],
    [3, 2],
    [65535, 2],
  ] as const) {
    test(`answers minor ${proposed} with ${answered}: never above the client's`, async () => {
      using client = RawClient.connect(served.path)
      const reply = await client.request(VERSION, versionPayload(undefined, { minor: proposed }))
      assertSuccess(reply)
      assert.deepEqual(reply.payload.subarray(0, 4), u16(0, answered))
    })
  }
})

const capability = (text: string) => versionPayload(`{"capabilities":{${text}}}`)
const raw = (text: string) => Buffer.concat([u16(0, 0), Buffer.from(text)])

const REFUSED: readonly [title: string, payload: Buffer][] = [
  ['no payload', Buffer.alloc(0)],
  ['a payload of 2 bytes', u16(0)],
  ['a payload of 3 bytes', Buffer.alloc(3)],
  ['major 1', versionPayload('{}', { major: 1 })],
  ['major 65535', versionPayload(undefined, { major: 65535 })],
  ['a NUL alone', raw('\0')],
  ['JSON without a NUL', raw('{}')],
  ['a NUL in the middle', raw('{}\0{}\0')],
  ['two NULs', raw('{}\0\0')],
  ['no JSON', raw('capabilities\0')],
  ['cut JSON', raw('{"capabilities":\0')],
  ['garbage after the JSON', raw('{} x\0')],
  ['an array', versionPayload('[]')],
  ['a string', versionPayload('"capabilities"')],
  ['a number', versionPayload('8')],
  ['null', versionPayload('null')],
  ['4000 arrays in each other', versionPayload('['.repeat(4000))],
  ['4097 bytes of JSON', versionPayload(`${JSON_4096} `)],
  [
    'bytes that are no UTF-8',
    Buffer.concat([raw('{"'), Buffer.from([0xff]), Buffer.from('":1}\0')]),
  ],
  ['capabilities that are an array', versionPayload('{"capabilities":[]}')],
  ['capabilities that are a string', versionPayload('{"capabilities":"x"}')],
  ['capabilities that are null', versionPayload('{"capabilities":null}')],
  ['max_msg_fds -1', capability('"max_msg_fds":-1')],
  ['max_msg_fds "8"', capability('"max_msg_fds":"8"')],
  ['max_msg_fds 1.5', capability('"max_msg_fds":1.5')],
  ['max_msg_fds null', capability('"max_msg_fds":null')],
  ['max_data_xfer_size true', capability('"max_data_xfer_size":true')],
  ['max_data_xfer_size 2^65', capability('"max_data_xfer_size":36893488147419103232')],
  ['max_dma_maps {}', capability('"max_dma_maps":{}')],
  ['pgsizes []', capability('"pgsizes":[]')],
  ['twin_socket true', capability('"twin_socket":true')],
  ['twin_socket []', capability('"twin_socket":[]')],
  ['twin_socket null', capability('"twin_socket":null')],
  ['twin_socket.supported 1', capability('"twin_socket":{"supported":1}')],
  ['twin_socket.fd_index -1', capability('"twin_socket":{"supported":true,"fd_index":-1}')],
  ['write_multiple 1', capability('"write_multiple":1')],
  ['write_multiple "true"', capability('"write_multiple":"true"')],
]

describe('a VERSION that is refused', () => {
  for (const [title, payload] of REFUSED) {
    test(`${title}: EINVAL, then the end`, async () => {
      using client = RawClient.connect(served.path)
      assertRefused(await client.request(VERSION, payload), 'EINVAL')
      await client.end()
    })
  }

  test('leaves the device to the next client', async () => {
    using client = await RawClient.attach(served.path)
    await client.assertAlive()
  })

  test('with an fd: EINVAL, the end, and the fd is closed', async () => {
    using fds = new Fds()
    const fd = fds.own(makeMemfd(0))
    await served.idle()
    const before = openFds()
    {
      using client = RawClient.connect(served.path)
      assertRefused(await client.request(VERSION, versionPayload('{}'), { fds: [fd] }), 'EINVAL')
      await client.end()
    }
    await served.idle()
    assert.deepEqual(openFds(), before)
  })

  test('with No_reply ends the connection without a word', async () => {
    using client = RawClient.connect(served.path)
    await client.send(message(VERSION, versionPayload('[]'), { flags: NO_REPLY }))
    await client.end()
  })

  test('ends the connection although more requests are glued to it', async () => {
    using client = RawClient.connect(served.path)
    const info = message(GET_INFO, u32(16, 0, 0, 0))
    await client.send(Buffer.concat([message(VERSION, u16(1, 0), { id: 7 }), info, info]))
    const reply = await client.reply()
    assert.equal(reply.id, 7)
    assertRefused(reply, 'EINVAL')
    await client.end()
  })
})

describe('the order of VERSION', () => {
  for (const command of [...Array.from({ length: 20 }, (_, i) => i), 0xffff]) {
    if (command === VERSION) continue
    test(`command ${command} before it: EINVAL, then the end`, async () => {
      using client = RawClient.connect(served.path)
      assertRefused(await client.request(command, Buffer.alloc(32, 1)), 'EINVAL')
      await client.end()
    })
  }

  test('a message of type 2 before it: EINVAL, then the end', async () => {
    using client = RawClient.connect(served.path)
    assertRefused(await client.request(VERSION, versionPayload('{}'), { flags: 2 }), 'EINVAL')
    await client.end()
  })

  for (const [title, payload] of [
    ['the same', versionPayload(QEMU_JSON)],
    ['of another major', versionPayload(undefined, { major: 1 })],
    ['without a payload', Buffer.alloc(0)],
  ] as const) {
    test(`a second VERSION, ${title}: EINVAL, and the connection lives`, async () => {
      using client = await RawClient.attach(served.path)
      assertRefused(await client.request(VERSION, payload), 'EINVAL')
      await client.assertAlive()
    })
  }

  test('with No_reply it is taken, and not answered', async () => {
    using client = RawClient.connect(served.path)
    await client.send(message(VERSION, versionPayload('{}'), { flags: NO_REPLY }))
    await client.assertAlive()
  })
})
