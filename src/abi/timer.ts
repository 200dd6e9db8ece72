/** <sys/timerfd.h>, <time.h>. */
import { struct } from '../lib/struct.ts'

export const Itimerspec = struct('itimerspec', 32, {
  interval_sec: 'size',
  interval_nsec: 'size',
  value_sec: 'size',
  value_nsec: 'size',
})

export const CLOCK_MONOTONIC = 1
export const TFD_NONBLOCK = 0o4000
export const TFD_CLOEXEC = 0o2000000
