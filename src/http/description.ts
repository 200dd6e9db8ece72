/** What the API's description says of each route: what goes in, what comes out, and how it refuses. */
import type { FastifySchema } from 'fastify'
import { type TSchema, Type } from 'typebox'
import type { Route } from './routes.ts'
import * as shapes from './shapes.ts'

/** Of one row of the table; the same shapes check what comes. */
export function schemaOf(route: Route): FastifySchema {
  const { name, summary, needs, params, query, body, status, reply, refusals } = route
  const refuses = ['EINVAL', ...(needs === 'admin' ? ['EPERM'] : []), ...refusals].join(', ')
  return {
    ...described(name, summary),
    description: `Needs ${needs} access. Refuses with ${refuses}.`,
    ...(params === undefined ? {} : { params }),
    ...(query === undefined ? {} : { querystring: query }),
    ...(body === undefined ? {} : { body }),
    response: { [status]: reply ?? Type.Null({ description: 'Done.' }), ...REFUSALS },
  }
}

/** Of a route with an answer that is no JSON, or no shape of ours. */
export function schemaOfOther(
  name: string,
  summary: string,
  contentType: string,
  shape: TSchema = Type.String(),
): FastifySchema {
  const content = { [contentType]: { schema: shape } }
  return {
    ...described(name, summary),
    description: 'Needs read access.',
    response: { 200: { description: 'It.', content }, ...REFUSALS },
  }
}

function described(operationId: string, summary: string): FastifySchema {
  return { operationId, summary }
}

const REFUSALS = { '4xx': shapes.Refusal, '5xx': shapes.Refusal }
