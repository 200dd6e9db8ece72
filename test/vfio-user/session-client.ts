/**
 * A client that is killed: says the session of QEMU up to a message, then says so on standard output and stays.
 *
 * Arguments: the socket; how many messages; and whether to wait for the reply to the last.
 */
import { RawClient } from '../support/vfio-user-raw.ts'
import { Gifts, OUR_SESSION } from './qemu-session.ts'

const [path = '', count = '0', wait] = process.argv.slice(2)
const gifts = new Gifts()
const client = RawClient.connect(path)
const exchanges = OUR_SESSION.slice(0, Number(count))
for (const [i, exchange] of exchanges.entries()) {
  await client.send(exchange.request, gifts.of(exchange))
  const isLast = i === exchanges.length - 1
  if (exchange.reply !== undefined && (!isLast || wait === 'wait')) await client.reply()
}
process.stdout.write('there\n')
setInterval(() => {}, 1 << 30)
