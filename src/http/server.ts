/** The HTTP API: the table of routes, the event stream, metrics and health, served on whatever it is told to listen on. */
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { ControlPlane, SharedControlPlane } from '../mdev/control-plane.ts'
import { parseTool } from '../mdev/owner.ts'
import type { Access, AccessRule } from './access.ts'
import { schemaOf, schemaOfOther } from './description.ts'
import { EventStreams } from './event-streams.ts'
import type { EventSource } from './events.ts'
import { createFramework } from './framework.ts'
import { Metrics } from './metrics.ts'
import { OWNER_HEADER, SCRIPTS_BY_CALLER, SCRIPTS_HEADER } from './caller-headers.ts'
import { refusalByStatus } from './refusal.ts'
import { type Route, ROUTES } from './routes.ts'
import * as shapes from './shapes.ts'

/** How long a request may take to arrive. */
const REQUEST_TIMEOUT_MS = 30_000
/** Most on one socket; what comes then is hung up on. */
const MAX_CONNECTIONS = 1024
const EVENTS =
  'What happens, as server-sent events: first a snapshot of everything, then each event, named as uevents of the kernel are.'

/** Where to listen: on a listening socket, which is taken over, or on a TCP port. */
export type ListenAt = { readonly fd: number } | { readonly host: string; readonly port: number }

export interface ApiServerOptions {
  readonly plane: SharedControlPlane
  readonly events: EventSource
  readonly log: Logger
  /** Of mdevkit. */
  readonly version: string
  /** Most bytes that wait for a reader of the event stream, besides what there was at its beginning. */
  readonly maxBacklog?: number
}

export class ApiServer {
  readonly #log: Logger
  readonly #app: FastifyInstance
  readonly #streams: EventStreams
  readonly #metrics: Metrics
  readonly #servers = new Set<Server>()
  /** Whose rule goes for a request. */
  readonly #rules = new WeakMap<IncomingMessage, AccessRule>()

  private constructor(options: ApiServerOptions, app: FastifyInstance) {
    const { plane, version, log } = options
    this.#log = log
    this.#app = app
    this.#streams = new EventStreams(options)
    this.#metrics = new Metrics({ plane, version, streams: () => this.#streams.count })
    app.addHook('onResponse', async ({ method, routeOptions }, { statusCode }) =>
      this.#metrics.answered(method, routeOptions.url ?? 'none', statusCode),
    )
    app.addHook('onRequest', async (request, reply) => this.#admit(request, reply))
    for (const route of ROUTES) this.#add(route, plane)
    this.#addOthers(version)
  }

  /** A server that listens nowhere yet. */
  static async create(options: ApiServerOptions): Promise<ApiServer> {
    const app = await createFramework(options.version, options.log)
    const server = new ApiServer(options, app)
    await app.ready()
    return server
  }

  /** The API's description, as OpenAPI 3.1 has it. */
  get description(): object {
    return this.#app.swagger()
  }

  /**
   * Listens.
   *
   * @param rule who may do what there
   * @returns the TCP port, where it is one
   * @throws EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOTFOUND
   */
  async listen(where: ListenAt, rule: AccessRule): Promise<number | undefined> {
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, noDelay: true })
    server.maxConnections = MAX_CONNECTIONS
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#rules.set(request, rule)
      this.#app.routing(request, response)
    })
    server.on('clientError', refuseMalformed)
    server.listen(where)
    await once(server, 'listening')
    server.on('error', (error) => this.#log.error('API socket', error))
    this.#servers.add(server)
    const address = server.address()
    return address === null || typeof address === 'string' ? undefined : address.port
  }

  /** Hangs up on everyone, and listens no more. Idempotent. */
  async close(): Promise<void> {
    this.#streams.close()
    for (const server of this.#servers) {
      server.close()
      server.closeAllConnections()
    }
    this.#servers.clear()
    await this.#app.close()
  }

  #admit(request: FastifyRequest, reply: FastifyReply): void {
    const rule = this.#rules.get(request.raw)
    const access = rule?.accessOf(request.raw)
    const { needs } = request.routeOptions.config as { needs?: Access }
    if (access === 'admin' || (access === 'read' && needs !== 'admin')) return
    if (access === undefined && rule?.challenge !== undefined) {
      void reply.header('www-authenticate', rule.challenge)
      throw new ErrnoError('EACCES', 'token: missing or unknown')
    }
    const what = `${request.method} ${request.url}`
    throw access === undefined
      ? new ErrnoError('EACCES', `${what}: this user may not use the API`)
      : new ErrnoError('EPERM', `${what}: needs admin access, and this is read access`)
  }

  /** The plane as the sender of a request has it. @throws EINVAL the tool's name is none */
  #onBehalf(plane: SharedControlPlane, request: IncomingMessage): ControlPlane {
    const user = this.#rules.get(request)?.userOf?.(request)
    if (user === undefined || plane.by === undefined) return plane
    const tool = request.headers[OWNER_HEADER]
    const caller = { user, tool: tool === undefined ? user : parseTool(String(tool)) }
    return plane.by(caller, { runsScripts: request.headers[SCRIPTS_HEADER] === SCRIPTS_BY_CALLER })
  }

  #add(route: Route, plane: SharedControlPlane): void {
    const { method, path, needs, status } = route
    this.#app.route({
      method,
      url: path,
      config: { needs },
      schema: schemaOf(route),
      handler: async (request, reply) => {
        const { params, query, body } = request
        const asked = this.#onBehalf(plane, request.raw)
        return reply.code(status).send(await route.run(asked, { params, query, body }))
      },
    })
  }

  /** What is not asked of the control plane alone, or not answered in JSON. */
  #addOthers(version: string): void {
    const app = this.#app
    const streams = this.#streams
    const metrics = this.#metrics
    app.route({
      method: 'GET',
      url: '/v1/events',
      schema: schemaOfOther('events', EVENTS, 'text/event-stream', shapes.StreamEvent),
      async handler(_request, reply) {
        await streams.open(reply.raw)
        reply.hijack()
      },
    })
    app.route({
      method: 'GET',
      url: '/v1/openapi.json',
      schema: schemaOfOther('description', 'This description.', 'application/json', Type.Unknown()),
      handler: async () => app.swagger(),
    })
    app.route({
      method: 'GET',
      url: '/metrics',
      schema: schemaOfOther('metrics', 'Numbers for Prometheus.', 'text/plain'),
      handler: async (_request, reply) =>
        reply.type(metrics.contentType).send(await metrics.text()),
    })
    app.route({
      method: 'GET',
      url: '/health',
      schema: schemaOfOther('health', 'Whether it answers.', 'application/json', shapes.Health),
      handler: async () => ({ status: 'ok', version, pid: process.pid }),
    })
  }
}

/** What is no HTTP at all gets an answer all the same. */
function refuseMalformed(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status = STATUS_OF_MALFORMED[error.code ?? ''] ?? 400
  const body = JSON.stringify(refusalByStatus(status, `request: ${error.message}`).body)
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

const STATUS_OF_MALFORMED: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_HEADER_OVERFLOW: 431,
}
