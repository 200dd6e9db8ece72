/** Clients that come and go. */
import * as wire from '../../../abi/vfio-user.ts'
import { type Check, type Context, expectSuccess } from '../check.ts'
import { bytesUnmapped, describeFrame, isError, type RawConnection } from '../raw-connection.ts'
import { deviceInfo, dmaMap, dmaUnmap, message, PROPOSALS } from '../requests.ts'
import { Violation } from '../violation.ts'

const INFO = message(wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo())
const VERSION = message(wire.VFIO_USER_VERSION, PROPOSALS.qemu)

/** A check that a client that ends like this does not keep the next one from being served. */
function nextIsServed(
  name: string,
  rule: string,
  reference: string,
  leave: (context: Context) => Promise<RawConnection>,
): Check {
  return {
    id: `life.${name}`,
    rule,
    reference,
    destructive: false,
    async run(context) {
      for (let i = 0; i < 3; i++) {
        const connection = await leave(context)
        connection.close()
        const next = await context.attach()
        await next.expectAlive('a client that left')
        await next.finish()
      }
    },
  }
}

export const LIFE_CHECKS: readonly Check[] = [
  nextIsServed(
    'reconnect',
    'After a client has gone, without a farewell, the next one is served.',
    '§2, §15.4',
    async (context) => context.attach(),
  ),
  nextIsServed(
    'silent',
    'A client that says nothing and goes does not disturb the next one.',
    '§2, §19',
    async (context) => context.connect(),
  ),
  ...[1, 15, 16, 20].map((length) =>
    nextIsServed(
      `half-sent-${length}`,
      `A message of which ${length} bytes came before the end of the connection is dropped.`,
      '§2',
      async (context) => {
        const connection = await context.attach()
        await connection.sendPieces([INFO.subarray(0, length)])
        return connection
      },
    ),
  ),
  nextIsServed(
    'half-version',
    'A VERSION of which only a part came before the end of the connection is dropped.',
    '§2',
    async (context) => {
      const connection = await context.connect()
      await connection.sendPieces([VERSION.subarray(0, 40)])
      return connection
    },
  ),
  nextIsServed(
    'unread',
    'A client that goes without reading the answers to its commands does not disturb the next one.',
    '§19',
    async (context) => {
      const connection = await context.attach()
      await connection.send(Buffer.concat(Array.from({ length: 100 }, () => INFO)))
      return connection
    },
  ),
  {
    id: 'life.end',
    rule: 'When a client ends its side of the connection, the server ends its own.',
    reference: '§2, §15.4',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      connection.endWriting()
      await connection.expectEnd('the end of the connection after the end of the client')
    },
  },
  {
    id: 'life.second-client',
    rule: 'While a client is served a second one is refused at once, by the end of its connection or an error, and the first goes on.',
    reference: '§15.3, §19',
    destructive: false,
    async run(context) {
      const first = await context.attach()
      for (let i = 0; i < 3; i++) {
        const second = await context.connect()
        await second.command(wire.VFIO_USER_VERSION, PROPOSALS.qemu)
        const expected = 'a second client to be refused at once'
        const frame = await second.nextOrEnd(expected)
        if (frame !== undefined && !isError(frame)) {
          throw new Violation(expected, describeFrame(frame))
        }
        second.close()
        await first.expectAlive('a second client')
      }
    },
  },
  {
    id: 'life.forgets-maps',
    rule: 'What a client mapped is forgotten when it goes: the next one maps the same addresses anew.',
    reference: '§1, §2',
    destructive: true,
    async run(context) {
      for (const flags of [3, 1]) {
        const connection = await context.attach()
        const frame = await connection.request(wire.VFIO_USER_DMA_MAP, dmaMap({ flags }))
        expectSuccess(frame, 'DMA_MAP of what the client before had mapped')
        connection.close()
      }
      const connection = await context.attach()
      const frame = await connection.request(wire.VFIO_USER_DMA_UNMAP, dmaUnmap())
      if ((bytesUnmapped(frame) ?? 0n) !== 0n)
        throw new Violation('no map left of the client before', describeFrame(frame))
    },
  },
]
