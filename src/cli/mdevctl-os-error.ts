/** Errors of the system as Rust shows them, and so mdevctl: `Invalid argument (os error 22)`. */
import { describeError, type ErrnoCode, errnoCode, errnoOf } from '../lib/errno.ts'

/** strerror() of the GNU C library, for what the control plane and files of definitions come back with. */
const TEXTS: Partial<Record<ErrnoCode, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EIO: 'Input/output error',
  ENXIO: 'No such device or address',
  EAGAIN: 'Resource temporarily unavailable',
  ENOMEM: 'Cannot allocate memory',
  EACCES: 'Permission denied',
  EFAULT: 'Bad address',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENODEV: 'No such device',
  ENOTDIR: 'Not a directory',
  EISDIR: 'Is a directory',
  EINVAL: 'Invalid argument',
  EMFILE: 'Too many open files',
  EFBIG: 'File too large',
  ENOSPC: 'No space left on device',
  EROFS: 'Read-only file system',
  ERANGE: 'Numerical result out of range',
  ENAMETOOLONG: 'File name too long',
  ELOOP: 'Too many levels of symbolic links',
  EOVERFLOW: 'Value too large for defined data type',
  EUSERS: 'Too many users',
  EOPNOTSUPP: 'Operation not supported',
  ETIMEDOUT: 'Connection timed out',
}

/** Where the errno has no text here, the error's own. */
export function osError(error: unknown): string {
  const errno = errnoOf(error)
  const text = TEXTS[errnoCode(errno)]
  return text === undefined ? describeError(error) : `${text} (os error ${errno})`
}
