/** Errors become answers here and nowhere else: the errno is that of the error, the status one that fits. */
import { type ErrnoCode, ErrnoError, errnoCode, errnoOf } from '../lib/errno.ts'

const STATUS: Readonly<Partial<Record<ErrnoCode, number>>> = {
  EINVAL: 400,
  EOVERFLOW: 400,
  ENAMETOOLONG: 400,
  ELOOP: 400,
  EACCES: 403,
  EPERM: 403,
  EROFS: 403,
  ENOENT: 404,
  EEXIST: 409,
  EBUSY: 409,
  ENODEV: 409,
  ECANCELED: 409,
  EMSGSIZE: 413,
  EFBIG: 413,
  ENOSYS: 501,
  ENOTTY: 501,
  EOPNOTSUPP: 501,
  ECONNRESET: 502,
  ECONNREFUSED: 502,
  EPROTO: 502,
  EAGAIN: 503,
  ETIMEDOUT: 504,
  ENOSPC: 507,
  EUSERS: 507,
  EDQUOT: 507,
  ENOMEM: 507,
}

/** What is told of an error that is nobody's refusal: a bug of ours. */
const BUG = 500

export interface Answer {
  readonly status: number
  readonly body: {
    readonly error: {
      readonly code: ErrnoCode
      readonly errno: number
      readonly message: string
    }
  }
}

/** @param error whatever was thrown; an `ErrnoError` and Node's system errors are refusals, all else is EIO */
export function answerOf(error: unknown): Answer {
  const errno = errnoOf(error)
  const code = errnoCode(errno)
  // what a bug says is for the log
  const message = isRefusal(error) ? error.message : 'internal error'
  return { status: STATUS[code] ?? BUG, body: { error: { code, errno, message } } }
}

/** Whether it was said by somebody who knew the errno. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof ErrnoError || (error instanceof Error && 'errno' in error)
}

/** What the framework refuses: its own status stays, and gets the errno that says the same. */
export function refusalByStatus(status: number, message: string): Answer {
  const { code, errno } = new ErrnoError(CODE[status] ?? 'EINVAL', message)
  return { status, body: { error: { code, errno, message } } }
}

const CODE: Readonly<Partial<Record<number, ErrnoCode>>> = {
  404: 'ENOENT',
  408: 'ETIMEDOUT',
  413: 'EMSGSIZE',
  431: 'EMSGSIZE',
}
