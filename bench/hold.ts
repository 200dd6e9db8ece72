/** Clients that attach to many devices and then sit idle. */
import { Child } from './child.ts'
import type { Bench } from './part.ts'

/** Holds a connection, negotiated, to each socket until disposed of. */
export async function holdAll(
  bench: Bench,
  sockets: readonly string[],
  processor: number,
): Promise<AsyncDisposable> {
  const command = [bench.programs.client, '--hold', ...sockets]
  const clients = await Child.start('clients', processor, command)
  try {
    await clients.next<{ held: number }>()
    return clients
  } catch (error) {
    await clients[Symbol.asyncDispose]()
    throw error
  }
}
