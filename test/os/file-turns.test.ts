/** In whose turn requests to files begin. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { FileRequest } from '../../src/os/file-request.ts'
import { FileTurns, type FileUser } from '../../src/os/file-turns.ts'

function requestOf(user: FileUser): FileRequest {
  const request = new FileRequest()
  request.user = user
  return request
}

test('one user has so many under way, and the places that are left are for others', () => {
  const turns = new FileTurns(10, 4)
  const [greedy, modest] = [{}, {}]
  const begun = Array.from({ length: 9 }, () => turns.begin(requestOf(greedy)))
  assert.equal(begun.filter(Boolean).length, 4)
  assert.equal(turns.next(), undefined)
  assert.equal(turns.begin(requestOf(modest)), true)
  turns.end(modest)
  assert.equal(turns.next(), undefined)
  turns.end(greedy)
  assert.equal(turns.next()?.user, greedy)
  assert.equal(turns.next(), undefined)
})

test('where there is no room for all, those who wait are served in turn, each in its own order', () => {
  const turns = new FileTurns(1, 4)
  const users = [{}, {}, {}] as const
  assert.equal(turns.begin(requestOf(users[0])), true)
  const waiting = [0, 0, 0, 0, 1, 1, 2].map((user) => requestOf(users[user as 0 | 1 | 2]))
  for (const request of waiting) assert.equal(turns.begin(request), false)
  let last = users[0]
  const order = waiting.map(() => {
    turns.end(last)
    const request = turns.next()!
    assert.equal(turns.next(), undefined)
    last = request.user
    return waiting.indexOf(request)
  })
  assert.deepEqual(order, [0, 4, 6, 1, 5, 2, 3])
})

test('one user of two engines takes turns at each', () => {
  const user = {}
  const [ring, threads] = [new FileTurns(4, 4), new FileTurns(1, 1)]
  assert.equal(ring.begin(requestOf(user)), true)
  const [first, second, third] = [requestOf(user), requestOf(user), requestOf(user)]
  assert.equal(threads.begin(first), true)
  assert.equal(threads.begin(second), false)
  ring.end(user)
  assert.equal(ring.next(), undefined)
  assert.equal(ring.begin(third), true)
  threads.end(user)
  assert.equal(threads.next(), second)
})

test('whatever comes and ends, no place stays empty while somebody may have it, and nothing is lost', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 8 }),
      fc.array(fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant('end' as const))),
      fc.infiniteStream(fc.nat()),
      (places, each, steps, picks) => {
        const turns = new FileTurns(places, each)
        const users = Array.from({ length: 4 }, () => ({}))
        const underWay: FileRequest[] = []
        const waiting: FileRequest[][] = users.map(() => [])
        const of = (user: number) => underWay.filter((each) => each.user === users[user]).length
        const end = () => {
          if (underWay.length === 0) return
          const [ended] = underWay.splice(picks.next().value! % underWay.length, 1)
          turns.end(ended!.user)
          const next = turns.next()
          if (next === undefined) return
          assert.equal(waiting[users.indexOf(next.user)]!.shift(), next)
          underWay.push(next)
        }
        for (const step of steps) {
          if (step === 'end') end()
          else {
            const request = requestOf(users[step]!)
            if (turns.begin(request)) underWay.push(request)
            else waiting[step]!.push(request)
          }
          assert.ok(underWay.length <= places)
          for (const [user, queue] of waiting.entries()) {
            assert.ok(of(user) <= each)
            if (queue.length > 0) assert.ok(of(user) === each || underWay.length === places)
          }
        }
        while (underWay.length > 0) end()
        assert.deepEqual(waiting.flat(), [])
      },
    ),
  )
})
