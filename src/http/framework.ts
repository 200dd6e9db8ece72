/** The web framework as we use it: our shapes check, our errors answer, and what it would do by itself is off. */
import swagger from '@fastify/swagger'
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { TSchema } from 'typebox'
import { describeError, ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { type Answer, answerOf, isRefusal, refusalByStatus } from './refusal.ts'
import { shapeFault } from './shape-fault.ts'

/** Most bytes of a request's body: many times what a definition needs, and a definition's file stays readable. */
const MAX_BODY = 256 * 1024
/** Most characters of a parent's name, which is a file's too. */
const MAX_PARAMETER = 1024

/** What a check of ours gets: where in the request it is, and the shape. */
interface Part {
  readonly schema: unknown
  readonly httpPart?: string | undefined
}

/** A framework without routes; nothing listens yet. */
export async function createFramework(version: string, log: Logger): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: MAX_BODY,
    exposeHeadRoutes: false, // HEAD of the event stream would open one
    routerOptions: { maxParamLength: MAX_PARAMETER },
    frameworkErrors: (error, _request, reply) => refuse(reply, error, log),
  })
  app.removeContentTypeParser('text/plain')
  app.setValidatorCompiler(({ schema, httpPart }: Part) => {
    return (value: unknown) => {
      const fault = shapeFault(schema as TSchema, value, httpPart ?? 'request')
      return fault === undefined ? { value } : { error: new ErrnoError('EINVAL', fault) }
    }
  })
  app.setSerializerCompiler(() => (value) => JSON.stringify(value)) // shapes are promises, not filters
  app.setErrorHandler((error, _request, reply) => refuse(reply, error, log))
  app.setNotFoundHandler(({ method, url }: FastifyRequest, reply) =>
    refuse(reply, new ErrnoError('ENOENT', `${method} ${url}: no such route`), log),
  )
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'mdevkit',
        description: 'Mediated devices of a machine: parents, mdevs and definitions.',
        version,
      },
    },
  })
  return app
}

function refuse(reply: FastifyReply, error: unknown, log: Logger): void {
  const { status, body } = answerTo(error)
  const { message } = body.error
  if (isRefusal(error) || status < 500) log.debug(`${body.error.code}: ${message}`)
  else log.error('request: answering EIO', error) // a bug of ours: keep the stack
  // who was told how to say who it is has not been refused for what it is
  void reply.code(reply.hasHeader('www-authenticate') ? 401 : status).send(body)
}

/** The framework's own errors have a status and no errno. */
function answerTo(error: unknown): Answer {
  if (!isRefusal(error) && error instanceof Error && 'statusCode' in error) {
    const { statusCode, message } = error
    if (typeof statusCode === 'number' && statusCode < 500) {
      return refusalByStatus(statusCode, describeError(message))
    }
  }
  return answerOf(error)
}
