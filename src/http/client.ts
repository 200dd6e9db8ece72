/** The control plane at the far end of the API's UNIX socket. */
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Deadline } from '../lib/deadline.ts'
import { describeError, type ErrnoCode, ErrnoError, errnoCode, errnoOf } from '../lib/errno.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type {
  ControlPlane,
  DefinedMdev,
  DefineOptions,
  DefinitionFault,
  DefinitionKey,
  MdevView,
  ParentView,
  StartRequest,
  StopOptions,
  TakeOptions,
  UnregisterOptions,
} from '../mdev/control-plane.ts'
import type { Definition } from '../mdev/definition.ts'
import type { MdevSnapshot } from '../mdev/state.ts'
import { eventsOf } from './event-reader.ts'
import type { MachineEvent, SnapshotEvent } from './events.ts'
import { OWNER_HEADER, SCRIPTS_BY_CALLER, SCRIPTS_HEADER } from './caller-headers.ts'
import { UnreachableError } from './unreachable-error.ts'

/** Who answers. */
export interface DaemonHealth {
  readonly status: 'ok'
  /** Of mdevkit. */
  readonly version: string
  readonly pid: number
}

/** Where the daemon serves its API. @param root the run-time root */
export function apiSocket(root: string): string {
  return join(root, 'api.sock')
}

/** More than the daemon itself allows a host, and that its driver. */
const TIMEOUT_MS = 45_000
/** The same where a host is to end by force, and is killed if it does not. */
const FORCE_TIMEOUT_MS = 120_000

export interface ApiClientOptions {
  /** How long an answer may take, but to what waits for clients. */
  readonly timeoutMs?: number
  /** How the tool calls itself whose what is made will be; the user's name unless given. */
  readonly owner?: string
  /** Whether mdevctl's scripts are run here, around what is asked for, so that the daemon runs none. */
  readonly runsScripts?: boolean
}

/**
 * Refusals are thrown as they were there. Besides, every method throws ENOENT or ECONNREFUSED where no daemon runs, EACCES
 * where one may not connect, ECONNRESET where it has gone meanwhile, ETIMEDOUT where it does not answer, and EPROTO where
 * what answers is no daemon.
 */
export class ApiClient implements ControlPlane {
  readonly #socketPath: string
  readonly #timeoutMs: number
  /** Who asks, and how. */
  readonly #headers: Readonly<Record<string, string>>

  /** @param socketPath as {@link apiSocket}; connected to anew for each request */
  constructor(socketPath: string, options: ApiClientOptions = {}) {
    const { timeoutMs = TIMEOUT_MS, owner, runsScripts = false } = options
    this.#socketPath = socketPath
    this.#timeoutMs = timeoutMs
    this.#headers = {
      ...(owner === undefined ? {} : { [OWNER_HEADER]: owner }),
      ...(runsScripts ? { [SCRIPTS_HEADER]: SCRIPTS_BY_CALLER } : {}),
    }
  }

  async health(): Promise<DaemonHealth> {
    return this.#ask('GET', '/health')
  }

  async parents(): Promise<readonly ParentView[]> {
    return this.#ask<readonly ParentView[]>('GET', '/v1/parents')
  }

  async list(): Promise<{
    readonly mdevs: readonly MdevView[]
    readonly faults: readonly DefinitionFault[]
  }> {
    return this.#ask('GET', '/v1/mdevs')
  }

  async find(uuid: string): Promise<readonly MdevView[]> {
    try {
      return await this.#ask<readonly MdevView[]>('GET', path`/v1/mdevs/${uuid}`)
    } catch (error) {
      if (
        error instanceof ErrnoError &&
        !(error instanceof UnreachableError) &&
        error.code === 'ENOENT'
      )
        return []
      throw error
    }
  }

  async define(
    { parent, uuid }: DefinitionKey,
    definition: Definition,
    { replace = false, ...options }: DefineOptions = {},
  ): Promise<DefinedMdev> {
    return replace
      ? this.#ask('PUT', path`/v1/definitions/${parent}/${uuid}` + query(options), definition)
      : this.#ask('POST', '/v1/definitions', { parent, uuid, definition })
  }

  async undefine(uuid: string, parent?: string, options: TakeOptions = {}): Promise<void> {
    await this.#ask('DELETE', path`/v1/definitions/${uuid}` + query(options, parent))
  }

  async start(wanted: StartRequest): Promise<MdevSnapshot> {
    return this.#ask('POST', '/v1/mdevs', wanted)
  }

  async stop(uuid: string, { takeOver = false, ...options }: StopOptions = {}): Promise<void> {
    const timeoutMs = options.wait === true ? Infinity : this.#timeoutMs
    await this.#ask('POST', path`/v1/mdevs/${uuid}/stop` + query({ takeOver }), options, timeoutMs)
  }

  async change(
    uuid: string,
    attributes: AttributeTexts,
    options: TakeOptions = {},
  ): Promise<MdevSnapshot> {
    return this.#ask('PATCH', path`/v1/mdevs/${uuid}` + query(options), { attributes })
  }

  async changeParent(
    parent: string,
    attributes: AttributeTexts,
    options: TakeOptions = {},
  ): Promise<ParentView> {
    return this.#ask('PATCH', path`/v1/parents/${parent}` + query(options), { attributes })
  }

  /** @param signal ends the waiting alone: what has begun is not called off */
  async unregister(
    parent: string,
    { takeOver = false, ...options }: UnregisterOptions = {},
    signal?: AbortSignal,
  ): Promise<void> {
    const { wait = false, force = false } = options
    const timeoutMs = wait && !force ? Infinity : Math.max(FORCE_TIMEOUT_MS, this.#timeoutMs)
    const target = path`/v1/parents/${parent}/unregister` + query({ takeOver })
    await this.#ask('POST', target, options, timeoutMs, signal)
  }

  async register(parent: string): Promise<ParentView> {
    return this.#ask('POST', path`/v1/parents/${parent}/register`)
  }

  /**
   * Everything there is, and then everything that happens, until `signal` is aborted; that ends it, and is no error.
   *
   * @throws ECONNRESET the daemon has gone, or has cut us off for being slow
   */
  async *events(signal?: AbortSignal): AsyncGenerator<SnapshotEvent | MachineEvent, void, void> {
    const deadline = this.#deadline(this.#timeoutMs)
    const ended = AbortSignal.any([deadline.signal, ...(signal === undefined ? [] : [signal])])
    try {
      const response = await this.#send('GET', '/v1/events', undefined, ended)
      deadline[Symbol.dispose]() // from now on nothing may happen for as long as it likes
      yield* eventsOf(response)
      throw new UnreachableError('ECONNRESET', `${this.#socketPath}: the event stream has ended`)
    } catch (error) {
      if (deadline.signal.aborted) throw late(deadline.signal)
      if (signal?.aborted !== true) throw this.#faultOf(error)
    } finally {
      deadline[Symbol.dispose]()
    }
  }

  async #ask<T>(
    method: string,
    target: string,
    body?: object,
    timeoutMs = this.#timeoutMs,
    end?: AbortSignal,
  ): Promise<T> {
    using deadline = this.#deadline(timeoutMs)
    const signal = end === undefined ? deadline.signal : AbortSignal.any([deadline.signal, end])
    try {
      const response = await this.#send(method, target, body, signal)
      const answer = await this.#connected(text(response))
      return (answer === '' ? undefined : this.#parse(answer)) as T
    } catch (error) {
      end?.throwIfAborted()
      throw signal.aborted ? late(signal) : error
    }
  }

  #deadline(timeoutMs: number): Deadline {
    return new Deadline(timeoutMs, `${this.#socketPath}: the daemon has not answered`)
  }

  /** @returns the answer, its body not read yet */
  async #send(
    method: string,
    target: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const sent = body === undefined ? undefined : JSON.stringify(body)
    const response = await this.#connected(
      new Promise<IncomingMessage>((resolve, reject) => {
        request({
          socketPath: this.#socketPath,
          method,
          path: target,
          agent: false,
          headers: {
            ...this.#headers,
            ...(sent === undefined
              ? {}
              : {
                  'content-type': 'application/json',
                  'content-length': Buffer.byteLength(sent),
                }),
          },
          signal,
        })
          .once('response', resolve)
          .on('error', reject) // also after the first: one is emitted when the answer is cut off
          .end(sent)
      }),
    )
    if ((response.statusCode ?? 0) < 400) return response
    throw this.#refusal(this.#parse(await this.#connected(text(response))))
  }

  async #connected<T>(step: Promise<T>): Promise<T> {
    try {
      return await step
    } catch (error) {
      throw this.#faultOf(error)
    }
  }

  /** What goes wrong on the way, and what to do about it. */
  #faultOf(error: unknown): ErrnoError {
    if (error instanceof ErrnoError) return error
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const fault = (errno: ErrnoCode, why: string) =>
      new UnreachableError(errno, `${this.#socketPath}: ${why}`, { cause: error })
    if (code === 'ENOENT' || code === 'ECONNREFUSED')
      return fault(code, 'no daemon answers; start it with: mdevkit daemon')
    if (code === 'ECONNRESET' || code === 'EPIPE') return fault('ECONNRESET', 'the daemon has gone')
    if (code.startsWith('HPE_') || error instanceof SyntaxError)
      return fault('EPROTO', 'what answers there is no mdevkit daemon')
    return fault(errnoCode(errnoOf(error)), error instanceof Error ? error.message : String(error))
  }

  #parse(answer: string): unknown {
    try {
      return JSON.parse(answer)
    } catch (error) {
      throw this.#faultOf(error)
    }
  }

  #refusal(body: unknown): ErrnoError {
    const told = body as { error?: { code?: ErrnoCode; message?: string } } | null
    const { code, message } = told?.error ?? {}
    if (code === undefined || message === undefined) return this.#faultOf(new SyntaxError())
    return new ErrnoError(code, message)
  }
}

function query({ takeOver = false }: TakeOptions, parent?: string): string {
  const parameters = new URLSearchParams()
  if (parent !== undefined) parameters.set('parent', parent)
  if (takeOver) parameters.set('takeOver', 'true')
  return parameters.size === 0 ? '' : `?${parameters.toString()}`
}

function late({ reason }: AbortSignal): UnreachableError {
  return new UnreachableError('ETIMEDOUT', describeError(reason).replace(/^ETIMEDOUT: /, ''), {
    cause: reason,
  })
}

/** A path whose parts are names, whatever they consist of. */
function path(texts: TemplateStringsArray, ...names: readonly string[]): string {
  return String.raw({ raw: texts }, ...names.map((name) => encodeURIComponent(name)))
}
