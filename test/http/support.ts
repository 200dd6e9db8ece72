/** The API over a real socket, with hosts in this process behind it, and requests as anybody may send them. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { constants } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { DefinitionWatcher } from '../../src/daemon/definition-watcher.ts'
import { MachineEvents } from '../../src/daemon/machine-events.ts'
import type { AccessRule } from '../../src/http/access.ts'
import { ApiClient } from '../../src/http/client.ts'
import { ApiServer } from '../../src/http/server.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { ControlPlane } from '../../src/mdev/control-plane.ts'
import { listenUnix } from '../../src/os/unix-socket.ts'
import { Daemon } from '../daemon/support.ts'

export const ANYBODY: AccessRule = { accessOf: () => 'admin' }

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  /** Of JSON; else its text. */
  readonly body: unknown
}

export class Api implements AsyncDisposable {
  readonly daemon = new Daemon()
  readonly directory = join(this.daemon.scratch.path, 'mdevctl.d')
  readonly definitions = new DefinitionWatcher({
    store: this.daemon.definitions,
    directory: this.directory,
    log: silentLogger,
  })
  readonly events = new MachineEvents({
    hosts: this.daemon.hosts,
    definitions: this.definitions,
    log: silentLogger,
  })
  readonly socketPath = join(this.daemon.scratch.path, 'api.sock')
  readonly client = new ApiClient(this.socketPath)
  #server: ApiServer | undefined

  private constructor() {
    const { machine } = this.daemon
    machine.on('defined', (mdev) => this.definitions.noteDefined(mdev))
    machine.on('undefined', (key) => this.definitions.noteUndefined(key))
    machine.on('uevent', (of, uevent) => this.events.noteUevent(of, uevent))
  }

  get server(): ApiServer {
    assert.ok(this.#server !== undefined)
    return this.#server
  }

  /** @param plane instead of the machine of the hosts in this process */
  static async start(
    options: { rule?: AccessRule; plane?: ControlPlane; maxBacklog?: number } = {},
  ): Promise<Api> {
    const api = new Api()
    const { rule = ANYBODY, plane = api.daemon.machine, ...limits } = options
    const { events } = api
    const log = silentLogger
    api.#server = await ApiServer.create({ plane, events, log, version: '1.2.3', ...limits })
    await api.#server.listen({ fd: listenUnix(api.socketPath, 0o600) }, rule)
    return api
  }

  /** Sends a request, body and all as they are, and reads the answer. */
  async ask(
    method: string,
    path: string,
    body?: string | object,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Reply> {
    return ask({ socketPath: this.socketPath }, method, path, body, headers)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.close()
    this.definitions.close()
    this.daemon[Symbol.dispose]()
  }
}

/** @param body an object is sent as JSON, text as it is, both as JSON unless `headers` say otherwise */
export async function ask(
  at: { readonly socketPath: string } | { readonly host: string; readonly port: number },
  method: string,
  path: string,
  body?: string | object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  const type = body === undefined ? {} : { 'content-type': 'application/json' }
  const sent = request({ ...at, method, path, agent: false, headers: { ...type, ...headers } })
  sent.on('error', () => {}) // after the answer: nobody reads what is still being sent
  sent.end(typeof body === 'object' ? JSON.stringify(body) : body)
  const [reply] = (await once(sent, 'response')) as [IncomingMessage]
  const told = await text(reply)
  const isJson =
    told !== '' && reply.headers['content-type']?.startsWith('application/json') === true
  return {
    status: reply.statusCode ?? 0,
    headers: reply.headers,
    body: isJson ? JSON.parse(told) : told,
  }
}

/** Status and errno of a refusal, which must be whole. */
export function refusalIn({ status, body }: Reply): readonly [status: number, code: string] {
  const { error } = body as {
    error: { code: keyof typeof constants.errno; errno: number; message: string }
  }
  assert.deepEqual(Object.keys(error), ['code', 'errno', 'message'])
  if (error.code in constants.errno) assert.equal(error.errno, constants.errno[error.code])
  assert.notEqual(error.message, '')
  return [status, error.code]
}
