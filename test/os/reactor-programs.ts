/** Programs of reactor.test.ts that need a process of their own: run with a name and the way to wait. */
import { EPOLLET, EPOLLIN, Reactor } from '../../src/os/reactor.ts'
import { threadWatch, uvWatch } from '../../src/os/epoll.ts'
import { EventFd } from '../../src/os/eventfd.ts'
import { closeFd } from '../../src/os/fd.ts'
import { Inbox, sendBytes } from '../../src/os/message.ts'
import { socketPair } from '../../src/os/unix-socket.ts'

const inbox = new Inbox(1000)

const PROGRAMS: Readonly<Record<string, (reactor: Reactor) => void>> = {
  /** Nothing but the watch keeps this process alive until its parent writes to fd 3, and nothing afterwards. */
  stay(reactor) {
    const watch = reactor.watch(3, EPOLLIN, () => {
      const count = inbox.receive(3, 0, 1000)
      if (count <= 0) return
      console.log(Buffer.from(inbox.bytes.subarray(0, count)).toString())
      watch.close()
    })
    console.log('watching')
  },

  /** What a handler throws is an uncaught exception, and other watches, edges among them, go on. */
  throw(reactor) {
    process.on('uncaughtException', (error) => {
      console.log(error instanceof AggregateError ? 'several' : error.message)
    })
    // the edges of one batch, of which each is reported once
    const edges = [1, 2, 3, 4].map((number) => {
      const eventfd = EventFd.create()
      const watch = reactor.watch(eventfd.fd, EPOLLIN | EPOLLET, () => {
        console.log(`edge ${number}`)
        watch.close()
        if (number === 2) throw new Error('thrown at edge 2')
        if (number === 4) setImmediate(afterwards)
      })
      return eventfd
    })
    for (const eventfd of edges) eventfd.signal()

    const afterwards = () => {
      let calls = 0
      const [left, right] = socketPair()
      sendBytes(left, new Uint8Array(1))
      // a level, reported again and again; the second and third call may come without a look at the set
      const watch = reactor.watch(right, EPOLLIN, () => {
        calls++
        if (calls < 4) throw new Error(`thrown at call ${calls}`)
        watch.close()
        console.log('closed')
      })
    }
  },

  /** Nobody catches it. */
  crash(reactor) {
    const eventfd = EventFd.create()
    eventfd.signal()
    reactor.watch(eventfd.fd, EPOLLIN, () => {
      throw new Error('nobody catches this')
    })
  },

  /** A socket that is ready for ever: timers, immediates and promises come nevertheless. */
  flood(reactor) {
    const [left, right] = socketPair()
    sendBytes(left, new Uint8Array(1))
    let calls = 0
    let promised = 0
    reactor.watch(right, EPOLLIN, () => {
      calls++
      void Promise.resolve().then(() => promised++)
    })
    let ticks = 0
    let immediates = 0
    const count = () => {
      immediates++
      setImmediate(count)
    }
    count()
    setInterval(() => {
      if (++ticks < 50) return
      console.log(
        JSON.stringify({ calls: calls > 10, immediates: immediates > 10, promised: promised > 10 }),
      )
      process.exit()
    }, 1)
  },

  /** One that says 'more' a hundred times, of which no event tells, beside one that throws. */
  more(reactor) {
    let calls = 0
    let thrown = false
    process.on('uncaughtException', () => {
      thrown = true
    })
    const patient = EventFd.create()
    const throwing = EventFd.create()
    const bad = reactor.watch(throwing.fd, EPOLLIN, () => {
      if (calls > 50) bad.close()
      throw new Error('beside the point')
    })
    const watch = reactor.watch(patient.fd, EPOLLIN, () => {
      patient.drain()
      if (++calls < 100) return 'more'
      watch.close()
      console.log(JSON.stringify({ calls, thrown }))
      return true
    })
    patient.signal()
    throwing.signal()
  },

  /** A peer that sends all the time, and is read all the time. */
  peer(reactor) {
    let bytes = 0
    reactor.watch(3, EPOLLIN, () => {
      const count = inbox.receive(3, 0, 1000)
      if (count > 0) bytes += count
    })
    let ticks = 0
    setInterval(() => {
      if (++ticks < 20 || bytes < 1e6) return
      console.log('enough')
      process.exit()
    }, 1)
  },

  /** Watches that come and go do not add up to anything. */
  churn(reactor) {
    let rounds = 0
    const next = () => {
      const [left, right] = socketPair()
      const watch = reactor.watch(right, EPOLLIN, () => {
        watch.close()
        closeFd(left)
        closeFd(right)
        if (++rounds < 500) setImmediate(next)
        else console.log('done')
      })
      sendBytes(left, new Uint8Array(1))
    }
    next()
  },
}

const [, , program = '', way] = process.argv
const uv = (...args: Parameters<typeof threadWatch>) => {
  const watch = uvWatch(...args)
  if (watch === undefined) throw new Error('this node binary does not export uv_poll_init')
  return watch
}
PROGRAMS[program]?.(new Reactor(way === 'threadWatch' ? threadWatch : uv))
