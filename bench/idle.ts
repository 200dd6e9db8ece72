/** Idle: what a host with many open devices uses while nobody does anything. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.ts'
import { type CpuTime, cpuTime, cpuTimeSince } from './cpu-time.ts'
import { processorsOf } from './pinning.ts'
import { Server, type ServerSpec } from './server.ts'

export interface IdleOptions {
  readonly devices: number
  readonly seconds: number
  /** After the last client attached, before counting starts, s. */
  readonly settleSeconds: number
}

export interface IdleResult {
  readonly server: string
  readonly devices: number
  readonly seconds: number
  readonly used: CpuTime
}

/** Opens `devices` devices of one host, each with a client that has negotiated, and watches them do nothing. */
export async function measureIdle(
  client: string,
  spec: ServerSpec,
  directory: string,
  allowed: readonly number[],
  options: IdleOptions,
): Promise<IdleResult> {
  const { client: processor } = processorsOf('same', allowed)
  await using server = await Server.start(spec, {
    directory,
    processor,
    devices: options.devices,
  })
  await using clients = await Child.start('clients', processor, [
    client,
    '--hold',
    ...server.sockets,
  ])
  const { held } = await clients.next<{ held: number }>()
  await sleep(options.settleSeconds * 1000)
  const before = cpuTime(server.pid)
  await sleep(options.seconds * 1000)
  const used = cpuTimeSince(before, cpuTime(server.pid))
  return { server: spec.name, devices: held, seconds: options.seconds, used }
}
