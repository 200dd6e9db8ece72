/** Drains an eventfd time and again while the collector runs and memory is in demand; prints how often it could. */
import { EventFd } from '../../src/os/eventfd.ts'

const eventfd = EventFd.create()
let drained = 0
for (let i = 0; i < 5; i++) {
  const garbage = Array.from({ length: 50_000 }, () => new Uint8Array(8))
  globalThis.gc?.()
  await new Promise((resolve) => setImmediate(resolve))
  garbage.length = 0
  eventfd.signal()
  if (eventfd.drain()) drained++
}
console.log(drained)
