/**
 * What is spoken over a host's control socket: JSON-RPC 2.0, each message with a `Content-Length` header, as editors and
 * their language servers do it.
 *
 * Refusals cross as errno: `error.code` is the number, `error.data.code` its name.
 */
import type { Socket } from 'node:net'
import type { Static } from 'typebox'
import { Check, Errors, type XSchema } from 'typebox/schema'
import {
  createMessageConnection,
  ErrorCodes,
  type MessageConnection,
  ResponseError,
  SocketMessageReader,
  SocketMessageWriter,
} from 'vscode-jsonrpc/node'
import { withPlace } from '../lib/driver-fault.ts'
import { type ErrnoCode, ErrnoError, errnoCode, errnoOf } from '../lib/errno.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { MdevEvents } from '../mdev/events.ts'
import type { MdevSnapshot, ParentNow, ParentSnapshot } from '../mdev/state.ts'

/** Of this protocol. A host answers whoever knows its number; keys that one side does not know are ignored. */
export const CONTROL_VERSION = 1

const STRING = { type: 'string' } as const
const BOOLEAN = { type: 'boolean' } as const

const ATTRIBUTES = {
  type: 'array',
  items: { type: 'array', items: [STRING, STRING], minItems: 2, additionalItems: false },
} as const

/** What each method takes, in the words of JSON Schema: every host would have to load what builds it by functions. */
export const CONTROL_METHODS = {
  /** First; EPROTO where the host does not speak that version. */
  hello: {
    type: 'object',
    properties: { version: { type: 'integer' } },
    required: ['version'],
  },
  create: {
    type: 'object',
    properties: {
      type: STRING,
      uuid: STRING,
      attributes: ATTRIBUTES,
      owner: {
        type: 'object',
        properties: { user: STRING, tool: STRING },
        required: ['user', 'tool'],
      },
    },
    required: ['type', 'uuid', 'attributes'],
  },
  remove: {
    type: 'object',
    properties: { uuid: STRING, force: BOOLEAN, wait: BOOLEAN },
    required: ['uuid', 'force', 'wait'],
  },
  changeAttributes: {
    type: 'object',
    properties: { uuid: STRING, attributes: ATTRIBUTES },
    required: ['uuid', 'attributes'],
  },
  changeParent: {
    type: 'object',
    properties: { attributes: ATTRIBUTES },
    required: ['attributes'],
  },
  /** With what the driver shows now, of which no event tells. */
  showMdev: { type: 'object', properties: { uuid: STRING }, required: ['uuid'] },
  showParent: { type: 'object' },
  /** Ends the host, once its mdevs have been removed; with `wait` false only where no client has one. */
  unregister: {
    type: 'object',
    properties: { force: BOOLEAN, wait: BOOLEAN },
    required: ['force'],
  },
} as const

export type ControlMethod = keyof typeof CONTROL_METHODS
type Checked<M extends ControlMethod> = Static<(typeof CONTROL_METHODS)[M]>
export type ControlParams<M extends ControlMethod> = {
  readonly [K in keyof Checked<M>]: K extends 'attributes' ? AttributeTexts : Checked<M>[K]
}

/** What each method comes back with. */
export interface ControlResults {
  hello: { readonly version: number; readonly pid: number; readonly parent: ParentSnapshot }
  create: MdevSnapshot
  remove: null
  changeAttributes: MdevSnapshot
  changeParent: ParentNow
  showMdev: MdevSnapshot
  showParent: ParentNow
  unregister: null
}

/** What has happened, told to everyone connected, and what it has changed: its parent as it is now. */
export interface ControlEvent extends ParentNow {
  /** As in {@link MdevEvents}. */
  readonly action: keyof MdevEvents
  /** Where it is about one; what it was, when it has been removed. */
  readonly mdev?: MdevSnapshot
}

export const CONTROL_EVENT = 'event'
/** Asked of everyone connected: the host ends, once they have heard all that was told before, and so have answered this. */
export const CONTROL_END = 'end'

/** A connection over `socket`, not listening yet. It ends with the socket. */
export function connectionOver(socket: Socket): MessageConnection {
  const reader = new SocketMessageReader(socket)
  reader.partialMessageTimeout = 0 // its timer outlives the reader
  const connection = createMessageConnection(reader, new SocketMessageWriter(socket))
  connection.onError(() => socket.destroy()) // framing is lost
  connection.onClose(() => connection.dispose()) // only this rejects what waits for an answer
  return connection
}

/** Answers `method`, once what came with it has been checked: EINVAL says what is wrong with it. */
export function answer<M extends ControlMethod>(
  connection: MessageConnection,
  method: M,
  handler: (params: ControlParams<M>) => Promise<ControlResults[M]> | ControlResults[M],
): void {
  answerChecked(connection, method, CONTROL_METHODS[method], (params) =>
    handler(params as ControlParams<M>),
  )
}

/** The same for a method of another protocol, whose parameters are as `schema` says. */
export function answerChecked(
  connection: MessageConnection,
  method: string,
  schema: XSchema,
  handler: (params: unknown) => unknown,
): void {
  connection.onRequest(method, async (params: unknown): Promise<unknown> => {
    try {
      check(method, schema, params)
      return await handler(params)
    } catch (error) {
      const message = withPlace(error instanceof Error ? error.message : String(error), error)
      const errno = errnoOf(error)
      throw new ResponseError(errno, message, { code: errnoCode(errno) })
    }
  })
}

/** @throws EINVAL */
function check(method: string, schema: XSchema, params: unknown): void {
  if (Check(schema, params)) return
  const [, [fault]] = Errors(schema, params)
  throw new ErrnoError('EINVAL', `${method}${fault?.instancePath ?? ''}: ${fault?.message}`)
}

/** Where nobody reads any more: it could not be written, or its answer never came. */
const HANG_UPS = new Set<number>([
  ErrorCodes.PendingResponseRejected,
  ErrorCodes.MessageWriteError,
  ErrorCodes.ConnectionInactive,
])

/** What a failed request throws here: the errno of the other side, or ECONNRESET where there is nobody any more. */
export function refusalOf(error: unknown, what: string): ErrnoError {
  if (error instanceof ResponseError) {
    const { code } = (error.data ?? {}) as { code?: ErrnoCode }
    if (code !== undefined) return new ErrnoError(code, error.message)
    if (!HANG_UPS.has(error.code)) return new ErrnoError('EPROTO', `${what}: ${error.message}`)
  }
  return new ErrnoError('ECONNRESET', `${what}: the host has gone`, { cause: error })
}
