/** Attaches to the devices that it is told of, one after the other, and says what came of it. */
import { ErrnoError } from '../../src/lib/errno.ts'
import { Client } from '../../src/vfio-user/client.ts'

/** `attached`, `detached`, or the name of an errno. */
export type Outcome = string

export interface Request {
  readonly id: number
  /** A socket. */
  readonly attach?: string
  readonly detach?: string
}

export interface Answer {
  readonly id: number
  readonly outcome: Outcome
}

const clients = new Map<string, Client>()

async function run({ attach, detach = '' }: Request): Promise<Outcome> {
  if (attach !== undefined) {
    clients.set(attach, await Client.attach(attach))
    return 'attached'
  }
  clients.get(detach)?.detach()
  return 'detached'
}

process.on('message', (request: Request) => {
  const answer = (outcome: Outcome) => process.send?.({ id: request.id, outcome } satisfies Answer)
  run(request).then(answer, (error: unknown) =>
    answer(error instanceof ErrnoError ? error.code : String(error)),
  )
})
