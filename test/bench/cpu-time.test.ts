import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  cpuTime,
  cpuTimeSince,
  parseIdle,
  parseSchedstat,
  parseSwitches,
  parseTicks,
} from '../../bench/cpu-time.ts'

// proc(5): /proc/PID/stat fields 14 and 15 are utime and stime

test('parseTicks() is not misled by a command with blanks and brackets', () => {
  const stat = '42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 17 25 0 0 20 0 11 0 99 1000 10'
  assert.equal(parseTicks(stat), 17 + 25)
})

test('parseSchedstat() takes the time on a processor, and 0 where there is no schedstat', () => {
  assert.equal(parseSchedstat('123456789 42 7\n'), 123_456_789)
  assert.equal(parseSchedstat(''), 0)
})

test('parseSwitches() adds voluntary and involuntary context switches', () => {
  const status = 'Name:\tnode\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n'
  assert.equal(parseSwitches(status), 15)
})

test('parseIdle() adds idle and iowait of all processors', () => {
  const stat = 'cpu  10 0 20 300 5 0 1 0 0 0\ncpu0 10 0 20 300 5 0 1 0 0 0\n'
  assert.equal(parseIdle(stat), 305 * 1e7)
})

test('cpuTime() grows while this process works', () => {
  const before = cpuTime(process.pid)
  const until = performance.now() + 50
  while (performance.now() < until);
  const used = cpuTimeSince(before, cpuTime(process.pid))
  assert.ok(used.ns > 1e6, `${used.ns} ns`)
  assert.ok(used.ticks >= 0 && used.switches >= 0)
})
