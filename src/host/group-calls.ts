/**
 * How a host tells another that a group with mdevs of both is in use: a connection to `<root>/groups/<parent>.sock`, one
 * request, and that the connection stays. Its end is the end of the use there, so that neither need outlive the other.
 */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { ErrorCodes, ResponseError } from 'vscode-jsonrpc/node'
import { codeOf } from '../lib/errno.ts'
import type { GroupHold, GroupParty, GroupUse } from '../mdev/group.ts'
import { isAnswered, listenUnix } from '../os/unix-socket.ts'
import { answerChecked, connectionOver, refusalOf } from './control-protocol.ts'

const GROUP_OPEN = 'groupOpen'

const STRING = { type: 'string' } as const

const USE = {
  type: 'object',
  properties: {
    id: STRING,
    number: { type: 'integer' },
    uuid: STRING,
    user: STRING,
    members: {
      type: 'array',
      items: {
        type: 'object',
        properties: { uuid: STRING, parent: STRING, type: STRING },
        required: ['uuid', 'parent', 'type'],
      },
    },
  },
  required: ['id', 'number', 'uuid', 'user', 'members'],
} as const

/** Listens for what a parent is to be told. */
export class GroupServer {
  readonly #path: string
  readonly #party: GroupParty
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  /** @throws EADDRINUSE somebody listens there · EACCES, ENAMETOOLONG it cannot listen there */
  constructor(path: string, party: GroupParty) {
    this.#path = path
    this.#party = party
    if (!isAnswered(path)) rmSync(path, { force: true }) // left by one that was killed
    const fd = listenUnix(path, 0o600)
    this.#server = createServer((socket) => this.#serve(socket))
    this.#server.on('error', (error) => party.log.error('group socket', error))
    this.#server.listen({ fd })
  }

  /** Hangs up on everyone, and removes the socket. */
  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    rmSync(this.#path, { force: true })
  }

  #serve(socket: Socket): void {
    const holds: GroupHold[] = []
    const connection = connectionOver(socket)
    this.#sockets.add(socket)
    socket.on('error', () => {}) // its end follows
    socket.on('close', () => {
      this.#sockets.delete(socket)
      for (const hold of holds.splice(0)) hold.release()
    })
    answerChecked(connection, GROUP_OPEN, USE, async (use) => {
      const hold = this.#party.hold(use as GroupUse)
      if (hold === undefined) return null // it has left the group
      if (socket.destroyed) hold.release()
      else holds.push(hold)
      await hold.ready
      return null
    })
    connection.listen()
  }
}

/** Tells the parent whose host listens at `path`. A host that is not there any more has nobody to tell. */
export function holdAt(path: string, use: GroupUse): GroupHold {
  const socket = connect(path)
  return { ready: tell(socket, use), release: () => socket.destroy() }
}

async function tell(socket: Socket, use: GroupUse): Promise<void> {
  try {
    await once(socket, 'connect')
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ECONNREFUSED') return
    throw error
  }
  socket.on('error', () => {}) // its end follows
  const connection = connectionOver(socket)
  connection.listen()
  try {
    await connection.sendRequest(GROUP_OPEN, use)
  } catch (error) {
    const isGone =
      !(error instanceof ResponseError) || error.code === ErrorCodes.PendingResponseRejected
    if (!isGone) throw refusalOf(error, GROUP_OPEN)
  }
}
