/** Guests of all kinds, simulated: looking by the time is kept to for those that gain by it, and left soon for others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LookPace } from '../../../drivers/nvme/look-pace.ts'

interface GuestKind {
  /** Commands that it has under way. */
  readonly depth: number
  /** What it takes for each, ms, and more for a ring or an interrupt. */
  readonly gapMs: number
  readonly exitMs: number
}

/** Time from a ring, or a timer, to the look. */
const WAKE_MS = 0.04

/**
 * A guest of one processor that sends a command for each that has ended, one after the other.
 *
 * @returns commands a millisecond, rings and looks by the time
 */
function simulate(
  pace: LookPace | undefined,
  { depth, gapMs, exitMs }: GuestKind,
  commands: number,
) {
  let now = 0
  let free = depth
  let sent = 0
  let done = 0
  let rings = 0
  let timed = 0
  let lookAt = Infinity
  /** When the guest has sent its next. */
  let nextAt = gapMs
  while (done < commands) {
    if (free > 0 && nextAt <= lookAt) {
      now = nextAt
      free--
      sent++
      nextAt = now + gapMs
      if (lookAt === Infinity) {
        rings++
        lookAt = now + exitMs + WAKE_MS
        nextAt += exitMs
      }
      continue
    }
    now = lookAt
    if (pace?.interval !== undefined) timed++
    pace?.looked(sent, now)
    done += sent
    if (free === 0) nextAt = now + gapMs // it has waited
    if (sent > 0) nextAt += exitMs // for the interrupt
    free += sent
    sent = 0
    lookAt = pace?.interval === undefined ? Infinity : now + pace.interval + WAKE_MS
  }
  return { rate: commands / now, rings, timed }
}

const EMULATED = { gapMs: 0.1, exitMs: 0.04 }
const FAST = { gapMs: 0.005, exitMs: 0.003 }
const COMMANDS = 100_000

for (const [name, kind, depth] of [
  ['emulated', EMULATED, 32],
  ['fast', FAST, 32],
  ['fast', FAST, 256],
] as const) {
  test(`a guest that is ${name} and has ${depth} commands under way rings little, and is faster`, () => {
    const guest = { ...kind, depth }
    const rung = simulate(undefined, guest, COMMANDS)
    const paced = simulate(new LookPace(), guest, COMMANDS)
    assert.ok(paced.rings < COMMANDS / 100, `${paced.rings} rings`)
    assert.ok(paced.timed < COMMANDS / 4, `${paced.timed} looks`)
    assert.ok(paced.rate > 1.05 * rung.rate, `${paced.rate}, with rings ${rung.rate}`)
  })
}

for (const [name, kind] of [
  ['emulated', EMULATED],
  ['fast', FAST],
] as const) {
  test(`a guest that is ${name} and waits for each command goes on ringing`, () => {
    const { rings } = simulate(new LookPace(), { ...kind, depth: 1 }, COMMANDS)
    assert.ok(rings > COMMANDS - 100, `${rings} rings`)
  })
  for (const depth of [2, 3, 4, 8]) {
    test(`a guest that is ${name} and has ${depth} commands under way loses little`, () => {
      const guest = { ...kind, depth }
      const rung = simulate(undefined, guest, COMMANDS)
      const paced = simulate(new LookPace(), guest, COMMANDS)
      assert.ok(paced.rate > 0.88 * rung.rate, `${paced.rate}, with rings ${rung.rate}`)
    })
  }
}

test('a guest that begins to wait for each command is not kept waiting by looks for long', () => {
  const pace = new LookPace()
  simulate(pace, { ...FAST, depth: 32 }, COMMANDS)
  assert.notEqual(pace.interval, undefined)
  const { timed } = simulate(pace, { ...FAST, depth: 1 }, 1000)
  assert.ok(timed <= 100, `${timed} looks`)
  assert.equal(pace.interval, undefined)
})

test('a guest that has nothing to do is asked to ring, and looked at again once it does', () => {
  const pace = new LookPace()
  simulate(pace, { ...EMULATED, depth: 32 }, COMMANDS)
  let now = 1e6
  for (let looks = 0; pace.interval !== undefined; looks++) {
    assert.ok(looks < 20)
    now += pace.interval
    pace.looked(0, now)
  }
  pace.looked(2, now + 1e6)
  assert.notEqual(pace.interval, undefined)
})
