/** One member's part in a group that it has joined, over a place that the test answers for. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ErrnoError } from '../../src/lib/errno.ts'
import type { GroupUser } from '../../src/mdev/group.ts'
import { type GroupPlace, JoinedGroup, type TakenUse } from '../../src/mdev/joined-group.ts'
import { deferred, ManualClock, uuid } from './support.ts'

const USER: GroupUser = { description: 'pid 7 (vmm)', process: '7', evict: () => {} }

/** A group whose place is taken when the test says so, and how many uses of it are held. */
function build() {
  const clock = new ManualClock()
  const taken = deferred<void>()
  let held = 0
  const place: GroupPlace = {
    number: 3,
    async open(_user, signal): Promise<TakenUse> {
      await taken.promise
      signal.throwIfAborted()
      held++
      await passTurns(5) // it is on its way
      let open = true
      return {
        close() {
          if (open) held--
          open = false
        },
      }
    },
    mustBeIdle: async () => {},
    leave: () => {},
  }
  const group = new JoinedGroup({ uuid: uuid(1), place, clock, onDepart: () => {} })
  return { clock, taken, group, held: () => held }
}

async function passTurns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

/** More turns than opening takes. */
const TURNS = 40

describe('JoinedGroup', () => {
  test('gives back a use that is called off at whatever moment it comes', async () => {
    const outcomes = new Set<string>()
    for (const how of ['close', 'time'] as const) {
      for (let turns = 0; turns < TURNS; turns++) {
        const { clock, taken, group, held } = build()
        const outcome = group.open(USER).then(
          () => 'open',
          (error: ErrnoError) => error.code,
        )
        taken.resolve()
        if (turns > 0) await passTurns(turns)
        if (how === 'close') group.close(USER)
        else clock.expire()
        outcomes.add(await outcome)
        group.close(USER)
        await passTurns(TURNS)
        assert.equal(held(), 0, `${how} after ${turns} turns`)
      }
    }
    assert.deepEqual([...outcomes].toSorted(), ['ECONNABORTED', 'ETIMEDOUT', 'open'])
  })

  test('is not idle while it is being opened, though its place is not taken yet', async () => {
    const { taken, group } = build()
    const opened = group.open(USER)
    await assert.rejects(group.mustBeIdle(), {
      code: 'EBUSY',
      message: 'group 3: in use by pid 7 (vmm)',
    })
    taken.resolve()
    await opened
    group.close(USER)
    await group.mustBeIdle()
  })
})
