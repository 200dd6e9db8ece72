/**
 * `npm run fuzz -- [--messages N] [--seconds T] [--seed S] [--connections C] [--device KIND] [--session K] [--keep DIR]`: hostile
 * clients by the million, of a host in a process of its own. See docs/fuzzing.md.
 */
import { parseArgs } from 'node:util'
import { bytes } from '../src/lib/format.ts'
import { DEVICE_KINDS, type DeviceKind } from '../test/support/fuzz-device.ts'
import { fuzz, FuzzFailure, type Progress } from '../test/support/fuzz-run.ts'

const { values } = parseArgs({
  options: {
    messages: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    connections: { type: 'string', default: '4' },
    device: { type: 'string' },
    session: { type: 'string' },
    keep: { type: 'string' },
  },
})

/** A whole number from `least` on. */
function count(name: string, text: string, least = 1): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new TypeError(`--${name} ${text}: not a whole number from ${least} on`)
}

function deviceKind(name: string): DeviceKind {
  const kind = DEVICE_KINDS.find((each) => each === name)
  if (kind === undefined) throw new TypeError(`--device ${name}: not ${DEVICE_KINDS.join(' or ')}`)
  return kind
}

function line({ messages, sessions, seconds, visits, longestVisitMs, host }: Progress): string {
  const many = (value: number) => Math.round(value).toLocaleString('en')
  return [
    `${many(messages)} messages`,
    `${many(messages / seconds)}/s`,
    `${many(sessions)} sessions`,
    `host: ${bytes(host.rss)} resident`,
    `${bytes(host.heap)} heap`,
    `${host.fds.length} fds`,
    `${host.mappings} mappings`,
    `polite client: ${many(visits)} visits, ${longestVisitMs.toFixed(1)} ms the longest`,
  ].join(', ')
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

try {
  const seed = count('seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 32)), 0)
  say(`seed ${seed}`)
  const timed = values.seconds !== undefined
  const outcome = await fuzz({
    seed,
    messages:
      timed && values.messages === undefined
        ? Infinity
        : count('messages', values.messages ?? '1000000'),
    seconds: timed ? count('seconds', values.seconds ?? '') : Infinity,
    connections: count('connections', values.connections),
    ...(values.device === undefined ? {} : { device: deviceKind(values.device) }),
    ...(values.session === undefined ? {} : { session: count('session', values.session, 0) }),
    ...(values.keep === undefined ? {} : { keep: values.keep }),
    onProgress: (progress) => say(line(progress)),
  })
  say(line(outcome))
  const { warm, host } = outcome
  say(
    `nothing left behind: ${host.fds.length} fds and ${host.shared.length} shared mappings as before; ` +
      `heap ${bytes(warm.heap)} when warm, ${bytes(host.heap)} now`,
  )
} catch (error) {
  if (error instanceof FuzzFailure) say(`failed: ${error.message}`)
  else if (error instanceof TypeError) say(`usage: ${error.message}`)
  else throw error
  process.exitCode = error instanceof FuzzFailure ? 1 : 2
}
