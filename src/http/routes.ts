/** The HTTP API as a table: method, path, shapes, and what of the control plane answers. */
import { type Static, type TSchema, Type } from 'typebox'
import { type ErrnoCode, ErrnoError } from '../lib/errno.ts'
import type { ControlPlane, TakeOptions } from '../mdev/control-plane.ts'
import type { Access } from './access.ts'
import * as shapes from './shapes.ts'

/** One row, as the server and the API's description read it. */
export interface Route {
  /** Unique: `operationId` in the API's description. */
  readonly name: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** From the root, `:name` for parameters. */
  readonly path: string
  readonly summary: string
  /** The least that the sender must be allowed. */
  readonly needs: Access
  readonly params?: TSchema
  readonly query?: TSchema
  readonly body?: TSchema
  readonly status: 200 | 201 | 204
  /** Undefined: nothing is sent. */
  readonly reply?: TSchema
  /** What it refuses with, besides what every route does. */
  readonly refusals: readonly ErrnoCode[]
  /** @param given checked against the shapes */
  run(plane: ControlPlane, given: Given<TSchema, TSchema, TSchema>): Promise<unknown>
}

interface Given<P extends TSchema, Q extends TSchema, B extends TSchema> {
  readonly params: Static<P>
  readonly query: Static<Q>
  readonly body: Static<B>
}

interface TypedRoute<
  P extends TSchema,
  Q extends TSchema,
  B extends TSchema,
  R extends TSchema,
> extends Omit<Route, 'run'> {
  readonly params?: P
  readonly query?: Q
  readonly body?: B
  readonly reply?: R
  run(
    plane: ControlPlane,
    given: Given<P, Q, B>,
  ): Promise<TSchema extends R ? void : shapes.Told<R>>
}

/** A row whose handler is held to its shapes. */
function route<P extends TSchema, Q extends TSchema, B extends TSchema, R extends TSchema>(
  row: TypedRoute<P, Q, B, R>,
): Route {
  return row
}

const ByParent = Type.Object({ parent: Type.String() })
const ByUuid = Type.Object({ uuid: Type.String() })
const ByKey = Type.Object({ parent: Type.String(), uuid: Type.String() })
const EXACT = { additionalProperties: false }
const TAKE_OVER = {
  takeOver: Type.Optional(
    Type.Literal('true', {
      description: 'Though another owner has made it, or a callout script refuses.',
    }),
  ),
}
const TakeOver = Type.Object(TAKE_OVER, EXACT)
const OfParent = Type.Object(
  { parent: Type.Optional(Type.String({ description: 'On this parent only.' })), ...TAKE_OVER },
  EXACT,
)

function taking({ takeOver }: Static<typeof TakeOver>): TakeOptions {
  return takeOver === undefined ? {} : { takeOver: true }
}

export const ROUTES: readonly Route[] = [
  route({
    name: 'parents',
    method: 'GET',
    path: '/v1/parents',
    summary: 'Parents whose hosts are there, and those whose hosts should be, by name.',
    needs: 'read',
    status: 200,
    reply: Type.Array(shapes.Parent),
    refusals: [],
    run: async (plane) => plane.parents(),
  }),
  route({
    name: 'parent',
    method: 'GET',
    path: '/v1/parents/:parent',
    summary: 'One parent.',
    needs: 'read',
    params: ByParent,
    status: 200,
    reply: shapes.Parent,
    refusals: ['ENOENT'],
    async run(plane, { params }) {
      const found = (await plane.parents()).find(({ name }) => name === params.parent)
      if (found === undefined)
        throw new ErrnoError('ENOENT', `parent ${params.parent}: no host runs it`)
      return found
    },
  }),
  route({
    name: 'changeParent',
    method: 'PATCH',
    path: '/v1/parents/:parent',
    summary: 'Changes settings of a parent itself, and so of all mdevs on it.',
    needs: 'admin',
    params: ByParent,
    query: TakeOver,
    body: shapes.ChangeRequest,
    status: 200,
    reply: shapes.Parent,
    refusals: ['ENOENT', 'EBUSY', 'EOPNOTSUPP', 'EDQUOT', 'ENODEV', 'ETIMEDOUT'],
    run: async (plane, { params, query, body }) =>
      plane.changeParent(params.parent, body.attributes, taking(query)),
  }),
  route({
    name: 'unregister',
    method: 'POST',
    path: '/v1/parents/:parent/unregister',
    summary:
      'Removes all mdevs of a parent and ends its host, for good where it is not configured, else until it is registered again.',
    needs: 'admin',
    params: ByParent,
    query: TakeOver,
    body: shapes.UnregisterRequest,
    status: 204,
    refusals: ['ENOENT', 'EBUSY', 'ENODEV', 'EAGAIN', 'ETIMEDOUT'],
    run: async (plane, { params, query, body }) =>
      plane.unregister(params.parent, { ...body, ...taking(query) }),
  }),
  route({
    name: 'register',
    method: 'POST',
    path: '/v1/parents/:parent/register',
    summary: 'Starts the host of a configured parent again; where it has none, `waits` says why.',
    needs: 'admin',
    params: ByParent,
    status: 200,
    reply: shapes.Parent,
    refusals: ['ENOENT', 'EEXIST', 'EBUSY'],
    run: async (plane, { params }) => plane.register(params.parent),
  }),
  route({
    name: 'list',
    method: 'GET',
    path: '/v1/mdevs',
    summary:
      'Every mdev that is active or defined, by parent and UUID; and the files that should be definitions and are none.',
    needs: 'read',
    status: 200,
    reply: shapes.MdevList,
    refusals: [],
    run: async (plane) => plane.list(),
  }),
  route({
    name: 'mdev',
    method: 'GET',
    path: '/v1/mdevs/:uuid',
    summary: 'One UUID, on each parent where it is active or defined.',
    needs: 'read',
    params: ByUuid,
    status: 200,
    reply: Type.Array(shapes.MdevView),
    refusals: ['ENOENT'],
    async run(plane, { params }) {
      const found = await plane.find(params.uuid)
      if (found.length === 0)
        throw new ErrnoError('ENOENT', `mdev ${params.uuid}: neither active nor defined`)
      return found
    },
  }),
  route({
    name: 'start',
    method: 'POST',
    path: '/v1/mdevs',
    summary: 'Starts a definition, named by its UUID, or an mdev without one.',
    needs: 'admin',
    body: shapes.StartRequest,
    status: 201,
    reply: shapes.Mdev,
    refusals: ['ENOENT', 'EEXIST', 'ENOSPC', 'EUSERS', 'ENODEV', 'ETIMEDOUT', 'ECANCELED'],
    run: async (plane, { body }) => plane.start(body),
  }),
  route({
    name: 'change',
    method: 'PATCH',
    path: '/v1/mdevs/:uuid',
    summary:
      'Changes settings of an active mdev, in use those that are live; a setting for the next start has its device built anew.',
    needs: 'admin',
    params: ByUuid,
    query: TakeOver,
    body: shapes.ChangeRequest,
    status: 200,
    reply: shapes.Mdev,
    refusals: ['ENOENT', 'EBUSY', 'EAGAIN', 'EOPNOTSUPP', 'ETIMEDOUT', 'ECANCELED'],
    run: async (plane, { params, query, body }) =>
      plane.change(params.uuid, body.attributes, taking(query)),
  }),
  route({
    name: 'stop',
    method: 'POST',
    path: '/v1/mdevs/:uuid/stop',
    summary: 'Takes an active mdev down; its definition stays.',
    needs: 'admin',
    params: ByUuid,
    query: TakeOver,
    body: shapes.StopRequest,
    status: 204,
    refusals: ['ENOENT', 'EBUSY', 'EAGAIN', 'ECANCELED'],
    run: async (plane, { params, query, body }) =>
      plane.stop(params.uuid, { ...body, ...taking(query) }),
  }),
  route({
    name: 'define',
    method: 'POST',
    path: '/v1/definitions',
    summary: 'Defines an mdev; neither its parent nor its type needs to be there.',
    needs: 'admin',
    body: shapes.DefinedMdev,
    status: 201,
    reply: shapes.DefinedMdev,
    refusals: ['EEXIST', 'ENOSPC', 'EACCES', 'EROFS', 'ECANCELED'],
    run: async (plane, { body: { definition, ...key } }) => plane.define(key, definition),
  }),
  route({
    name: 'redefine',
    method: 'PUT',
    path: '/v1/definitions/:parent/:uuid',
    summary: 'Defines an mdev, in place of what is defined there.',
    needs: 'admin',
    params: ByKey,
    query: TakeOver,
    body: shapes.Definition,
    status: 200,
    reply: shapes.DefinedMdev,
    refusals: ['ENOSPC', 'EACCES', 'EROFS', 'ECANCELED'],
    run: async (plane, { params, query, body }) =>
      plane.define(params, body, { replace: true, ...taking(query) }),
  }),
  route({
    name: 'undefine',
    method: 'DELETE',
    path: '/v1/definitions/:uuid',
    summary:
      'Takes the definitions of a UUID back, that of one parent or all; an active mdev lives on.',
    needs: 'admin',
    params: ByUuid,
    query: OfParent,
    status: 204,
    refusals: ['ENOENT', 'EACCES', 'EROFS', 'ECANCELED'],
    run: async (plane, { params, query }) =>
      plane.undefine(params.uuid, query.parent, taking(query)),
  }),
]
