import assert from 'node:assert/strict'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type EpollSet, type LoopWatch, threadWatch, uvWatch } from '../../src/os/epoll.ts'
import { EventFd } from '../../src/os/eventfd.ts'
import { closeFd } from '../../src/os/fd.ts'
import { receiveInto, sendBytes } from '../../src/os/message.ts'
import { Reactor, reactor } from '../../src/os/reactor.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { ended, start } from '../support/child.ts'
import { Fds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

// <sys/epoll.h>
const EPOLLIN = 1
const EPOLLOUT = 4
const EPOLLHUP = 0x10
const EPOLLET = 2 ** 31

const BYTE = new Uint8Array(1)

type Watcher = (set: EpollSet, onReady: () => void) => LoopWatch

const WATCHERS: Readonly<Record<string, Watcher>> = {
  uvWatch(set, onReady) {
    const watch = uvWatch(set, onReady)
    assert.ok(watch !== undefined, 'this node binary does not export uv_poll_init')
    return watch
  },
  threadWatch,
}

/** Two connected sockets that end with the `using` scope. */
function pair(fds: Fds): [number, number] {
  const [left, right] = socketPair()
  return [fds.own(left), fds.own(right)]
}

/** A socket that has something to read, and will have until somebody does. */
function readable(fds: Fds): number {
  const [left, right] = pair(fds)
  sendBytes(left, BYTE)
  return right
}

/** Resolves when `watched` has been through all that was ready when this was called. */
async function fence(watched: Reactor): Promise<void> {
  using eventfd = EventFd.create()
  eventfd.signal()
  await new Promise<void>((resolve) => {
    const watch = watched.watch(eventfd.fd, EPOLLIN | EPOLLET, () => {
      watch.close()
      resolve()
    })
  })
}

function startProgram(name: string, watcher: string) {
  const path = fileURLToPath(new URL('./reactor-programs.js', import.meta.url))
  return start(process.execPath, [path, name, watcher])
}

for (const [name, watcher] of Object.entries(WATCHERS)) {
  describe(`Reactor with ${name}`, () => {
    test('calls the handler with the events, of the fd that has them', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const [left, right] = pair(fds)
      const [, idle] = pair(fds)
      const silent = watched.watch(idle, EPOLLIN, () => assert.fail('nothing is there'))
      const target = new Uint8Array(10)
      for (let i = 1; i <= 20; i++) {
        const got = new Promise<number>((resolve) => {
          const watch = watched.watch(right, EPOLLIN, (events) => {
            assert.equal(events, EPOLLIN)
            const count = receiveInto(right, target)
            if (count < 0) return
            watch.close()
            resolve(count)
          })
        })
        sendBytes(left, target.subarray(0, (i % 10) + 1))
        assert.equal(await got, (i % 10) + 1)
      }
      silent.close()
    })

    test('one watch stays for any number of messages', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const [left, right] = pair(fds)
      const target = new Uint8Array(1)
      let wake: (() => void) | undefined
      const watch = watched.watch(right, EPOLLIN, () => {
        if (receiveInto(right, target) === 1) wake?.()
      })
      for (let i = 0; i < 100; i++) {
        const answered = new Promise<void>((resolve) => {
          wake = resolve
        })
        sendBytes(left, BYTE)
        await answered
      }
      watch.close()
    })

    test('Watch.interest 0 silences, EPOLLOUT asks for room, EPOLLIN again for what waits', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const fd = readable(fds)
      const seen: number[] = []
      const watch = watched.watch(fd, EPOLLIN, (events) => {
        seen.push(events)
        watch.interest = 0
      })
      await fence(watched)
      await fence(watched)
      assert.deepEqual(seen, [EPOLLIN])
      assert.equal(watch.interest, 0)
      watch.interest = EPOLLOUT
      await fence(watched)
      watch.interest = EPOLLIN | EPOLLOUT
      await fence(watched)
      await fence(watched)
      assert.deepEqual(seen, [EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT])
      watch.close()
      watch.interest = EPOLLIN // of a closed watch: nothing
      await fence(watched)
      assert.equal(seen.length, 3)
    })

    test('a hang-up is reported whatever the interest', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const [left, right] = pair(fds)
      const events = new Promise<number>((resolve) => {
        const watch = watched.watch(right, 0, (events) => {
          watch.close()
          resolve(events)
        })
      })
      closeFd(left)
      assert.equal(await events, EPOLLHUP)
    })

    test('an edge is reported once for each signal', async () => {
      using eventfd = EventFd.create()
      const watched = new Reactor(watcher)
      let edges = 0
      const watch = watched.watch(eventfd.fd, EPOLLIN | EPOLLET, () => edges++)
      for (let i = 1; i <= 20; i++) {
        eventfd.signal()
        await fence(watched)
        await fence(watched)
        assert.equal(edges, i)
      }
      watch.close()
    })

    test('a watch that is closed inside a handler is not called, even if it was ready', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      let calls = 0
      const watches = [1, 2, 3].map(() =>
        watched.watch(readable(fds), EPOLLIN, () => {
          calls++
          for (const watch of watches) watch.close() // its own too, and twice in all
        }),
      )
      await fence(watched)
      assert.equal(calls, 1)
      for (const watch of watches) watch.close()
    })

    test('a watch made inside a handler does not get the events of one closed there', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      let calls = 0
      const late: unknown[] = []
      const made: { close(): void }[] = []
      const watches = Array.from({ length: 8 }, () =>
        watched.watch(readable(fds), EPOLLIN, () => {
          calls++
          for (const watch of watches) watch.close()
          for (let i = 0; i < watches.length; i++) {
            const [, idle] = pair(fds)
            made.push(watched.watch(idle, EPOLLIN | EPOLLOUT, (events) => late.push(events)))
          }
        }),
      )
      await fence(watched)
      await fence(watched)
      assert.equal(calls, 1)
      assert.ok(late.length >= 8)
      assert.deepEqual([...new Set(late)], [EPOLLOUT]) // not EPOLLIN, which was for the others
      for (const watch of made) watch.close()
    })

    test('Reactor.watch() refuses what cannot be watched, and goes on', async () => {
      using scratch = new Scratch()
      using fds = new Fds()
      using eventfd = EventFd.create()
      const watched = new Reactor(watcher)
      const unexpected = () => assert.fail('was refused')
      const file = fds.own(openSync(scratch.write('file', ''), 'r'))
      const watch = watched.watch(eventfd.fd, EPOLLIN, () => eventfd.drain())
      assert.throws(() => watched.watch(eventfd.fd, EPOLLIN, unexpected), { code: 'EEXIST' })
      assert.throws(() => watched.watch(file, EPOLLIN, unexpected), { code: 'EPERM' })
      assert.throws(() => watched.watch(-1, EPOLLIN, unexpected), { code: 'EBADF' })
      eventfd.signal()
      await fence(watched)
      await fence(watched)
      assert.equal(eventfd.drain(), false)
      watch.close()
    })

    test('of two flooded sockets, neither gets more than nine tenths of the calls', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const total = 2000
      const calls = [0, 0]
      await new Promise<void>((resolve) => {
        const watches = [0, 1].map((i) =>
          watched.watch(readable(fds), EPOLLIN, () => {
            calls[i] = (calls[i] ?? 0) + 1
            if ((calls[0] ?? 0) + (calls[1] ?? 0) < total) return
            for (const watch of watches) watch.close()
            resolve()
          }),
        )
      })
      assert.ok(Math.max(...calls) < 0.9 * total, calls.join(' and '))
    })

    test('a flooded socket leaves room for one that becomes ready later, and for many', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      let floods = 0
      const flood = watched.watch(readable(fds), EPOLLIN, () => floods++)
      for (let i = 0; i < 100; i++) {
        const [left, right] = pair(fds)
        const before = floods
        const after = new Promise<number>((resolve) => {
          const watch = watched.watch(right, EPOLLIN, () => {
            watch.close()
            resolve(floods)
          })
        })
        sendBytes(left, BYTE)
        const calls = (await after) - before
        assert.ok(calls < 100, `${calls} calls before the other`)
      }
      flood.close()
    })

    test("a handler that says 'more' is called again, with no events, until it does not", async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const fd = readable(fds)
      const seen: number[] = []
      await new Promise<void>((resolve) => {
        const watch = watched.watch(fd, EPOLLIN, (events) => {
          receiveInto(fd, BYTE) // no event will tell of what is left
          seen.push(events)
          if (seen.length < 500) return 'more'
          watch.close()
          resolve()
          return true
        })
      })
      assert.deepEqual([...new Set(seen)], [EPOLLIN, 0])
      assert.equal(seen.indexOf(0), 1)
    })

    test("one that says 'more' is called once for each call of another that is always ready", async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const order: string[] = []
      const endless = watched.watch(readable(fds), EPOLLIN, () => {
        order.push('more')
        return 'more'
      })
      await new Promise<void>((resolve) => {
        const other = watched.watch(readable(fds), EPOLLIN, () => {
          order.push('other')
          if (order.length < 1000) return
          other.close()
          endless.close()
          resolve()
        })
      })
      const rounds = order.join(' ').split('other')
      const longest = Math.max(...rounds.map((round) => round.split('more').length - 1))
      assert.ok(longest <= 2, `${longest} calls in a row`) // at the end of one turn, and the start of the next
    })

    test("of many that say 'more' all get nearly as many calls", async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const calls = Array.from({ length: 200 }, () => 0) // more than one round takes
      let total = 0
      await new Promise<void>((resolve) => {
        const watches = calls.map((_, i) =>
          watched.watch(readable(fds), EPOLLIN, () => {
            calls[i] = (calls[i] ?? 0) + 1
            if (++total < 20 * calls.length) return 'more'
            for (const watch of watches) watch.close()
            resolve()
            return true
          }),
        )
      })
      // those that the first look at the set finds begin some rounds before the last
      assert.ok(Math.max(...calls) - Math.min(...calls) <= 4, calls.join(' '))
    })

    test("a watch that is closed after its handler said 'more' is not called again", async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      let calls = 0
      const watches = [1, 2, 3].map(() =>
        watched.watch(readable(fds), EPOLLIN, () => {
          if (++calls === 3) for (const watch of watches) watch.close()
          return 'more'
        }),
      )
      await fence(watched)
      await fence(watched)
      assert.equal(calls, 3)
    })

    test('Watch.again() has the handler called once, with no events', async () => {
      using fds = new Fds()
      const watched = new Reactor(watcher)
      const [, idle] = pair(fds)
      const seen: number[] = []
      let watch = watched.watch(idle, EPOLLIN, (events) => seen.push(events))
      watch.again()
      watch.again()
      await fence(watched)
      await fence(watched)
      assert.deepEqual(seen, [0])
      watch.again()
      watch.close()
      watch.again()
      watch = watched.watch(idle, EPOLLIN, () => assert.fail('it was another that asked'))
      await fence(watched)
      await fence(watched)
      assert.deepEqual(seen, [0])
      watch.close()
    })

    test("what another handler throws does not lose one that said 'more'", async () => {
      const { code, signal, stdout, stderr } = await ended(startProgram('more', name))
      assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
      assert.deepEqual(JSON.parse(stdout), { calls: 100, thrown: true })
    })

    test('keeps the process alive while anything is watched, and not longer', async () => {
      const child = startProgram('stay', name)
      assert.ok(child.stdout !== null)
      await once(child.stdout, 'data')
      assert.equal(child.exitCode, null)
      const end = ended(child)
      const socket = child.stdio[3]
      assert.ok(socket instanceof Writable)
      socket.write('farewell')
      const { code, signal, stdout } = await end
      assert.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: 'farewell\n' })
    })

    test('what a handler throws is an uncaught exception, and all others go on', async () => {
      const { code, signal, stdout, stderr } = await ended(startProgram('throw', name))
      assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
      const lines = stdout.trim().split('\n')
      assert.deepEqual(lines.toSorted(), [
        'closed',
        'edge 1',
        'edge 2',
        'edge 3',
        'edge 4',
        'thrown at call 1',
        'thrown at call 2',
        'thrown at call 3',
        'thrown at edge 2',
      ])
      assert.equal(lines.at(-1), 'closed')
    })

    test('what a handler throws ends the process when nobody catches it', async () => {
      const { code, stderr } = await ended(startProgram('crash', name))
      assert.equal(code, 1)
      assert.match(stderr, /Error: nobody catches this/)
    })

    test('timers, immediates and promises go on beside a socket that is always ready', async () => {
      const { code, signal, stdout } = await ended(startProgram('flood', name))
      assert.deepEqual({ code, signal }, { code: 0, signal: null })
      assert.deepEqual(JSON.parse(stdout), { calls: true, immediates: true, promised: true })
    })

    test('timers go on while a peer floods', async () => {
      const child = startProgram('peer', name)
      const socket = child.stdio[3]
      assert.ok(socket instanceof Writable)
      socket.on('error', () => {}) // the child leaves when it has had enough
      const chunk = new Uint8Array(64 * 1024)
      const flood = () => {
        while (!socket.destroyed && socket.write(chunk));
      }
      socket.on('drain', flood)
      flood()
      const { code, signal, stdout } = await ended(child)
      assert.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: 'enough\n' })
    })

    test('watches come and go, and the process ends after the last', async () => {
      const { code, signal, stdout } = await ended(startProgram('churn', name))
      assert.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: 'done\n' })
    })
  })
}

test('a busy reactor asks for one more turn per round of the event loop, not for more and more', async () => {
  using fds = new Fds()
  let wakeUp = () => {}
  const busy = new Reactor((_set, onReady) => {
    wakeUp = onReady
    return { start() {}, stop() {} }
  })
  const watch = busy.watch(readable(fds), EPOLLIN, () => {})
  const pending = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Immediate')
  const before = pending().length
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 5; i++) wakeUp() // each goes on until it has used up its turn
    assert.ok(pending().length - before <= 1, `${pending().length - before} turns`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  watch.close()
})

test('a handler that runs the event loop is not entered again', () => {
  using fds = new Fds()
  let wakeUp = () => {}
  const nested = new Reactor((_set, onReady) => {
    wakeUp = onReady
    return { start() {}, stop() {} }
  })
  let depth = 0
  let calls = 0
  const watch = nested.watch(readable(fds), EPOLLIN, () => {
    calls++
    assert.equal(++depth, 1)
    wakeUp()
    depth--
    if (calls === 3) watch.close()
  })
  // one turn may end early on a busy machine
  for (let turn = 0; turn < 100; turn++) wakeUp()
  assert.equal(calls, 3)
})

test('the event loop is watched from the first watch to the last', () => {
  using fds = new Fds()
  const calls: string[] = []
  const watched = new Reactor(() => ({
    start: () => calls.push('start'),
    stop: () => calls.push('stop'),
  }))
  const [left, right] = pair(fds)
  const one = watched.watch(left, EPOLLIN, () => {})
  const two = watched.watch(right, EPOLLIN, () => {})
  one.close()
  one.close()
  assert.deepEqual(calls, ['start'])
  two.close()
  assert.deepEqual(calls, ['start', 'stop'])
  watched.watch(left, EPOLLIN, () => {}).close()
  assert.deepEqual(calls, ['start', 'stop', 'start', 'stop'])
})

test('reactor() is one for the process', () => {
  assert.equal(reactor(), reactor())
})
