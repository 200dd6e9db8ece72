/** <sys/resource.h>. */
import { struct } from '../lib/struct.ts'

/** Of the two times only the seconds. */
export const Rusage = struct('rusage', 144, {
  ru_utime: 'u64',
  _pad0: 'u64',
  ru_stime: 'u64',
  _pad1: 'u64',
  ru_maxrss: 'size',
  ru_ixrss: 'size',
  ru_idrss: 'size',
  ru_isrss: 'size',
  ru_minflt: 'size',
  ru_majflt: 'size',
  ru_nswap: 'size',
  ru_inblock: 'size',
  ru_oublock: 'size',
  ru_msgsnd: 'size',
  ru_msgrcv: 'size',
  ru_nsignals: 'size',
  ru_nvcsw: 'size',
  ru_nivcsw: 'size',
})
export const RUSAGE_THREAD = 1
