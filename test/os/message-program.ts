/** Receives 5 fds where there is room for 2 only, and prints what it got. */
import { openSync } from 'node:fs'
import { closeFd } from '../../src/os/fd.ts'
import { Inbox, Outbox } from '../../src/os/message.ts'
import { socketPair } from '../../src/os/unix-socket.ts'

const [left, right] = socketPair()
const [, idle] = socketPair()
const inbox = new Inbox(100)
new Outbox(100).send(left, 3, [0, 1, 2, 0, 1])
new Outbox(100).send(left, 4, [0])
new Outbox(100).send(left, 5)

const filler: number[] = []
try {
  for (;;) filler.push(openSync('/dev/null', 'r'))
} catch {
  for (const fd of filler.splice(0, 2)) closeFd(fd)
}
const report: unknown[] = []
for (const fd of [right, idle, right, right]) {
  const count = inbox.receive(fd, 0, 100)
  report.push([count, inbox.fds.length, inbox.truncated])
  for (const fd of inbox.fds.splice(0)) closeFd(fd)
}
for (const fd of filler) closeFd(fd)
console.log(JSON.stringify(report))
