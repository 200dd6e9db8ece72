/** Runs bench/c/attach.c, which attaches to devices and times each reply. */
import { Child } from './child.ts'
import type { Server } from './server.ts'

/** Of `n` times, ns. */
export interface Quantiles {
  readonly n: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** What it prints. */
export interface Attached {
  readonly seconds: number
  readonly attach: Quantiles
  readonly replies: Readonly<Record<string, Quantiles>>
}

/** @returns it, ready, about to do with the sockets of `server` what `options` say */
export async function startAttach(
  program: string,
  processor: number,
  server: Server,
  options: readonly string[],
): Promise<Child> {
  const command = [program, ...options, ...server.sockets]
  const child = await Child.start(`attach to ${server.spec.name}`, processor, command)
  try {
    await child.next<{ ready: true }>()
    return child
  } catch (error) {
    await child[Symbol.asyncDispose]()
    throw error
  }
}

/** Lets it go. @returns what it found */
export async function runAttach(child: Child): Promise<Attached> {
  child.send('go')
  return child.next<Attached>()
}
