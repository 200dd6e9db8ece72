/** Nobody answers where the daemon's API should be: unlike a refusal, which the daemon itself has worded. */
import { ErrnoError } from '../lib/errno.ts'

export class UnreachableError extends ErrnoError {}
