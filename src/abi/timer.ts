/** <time.h>, <sys/timerfd.h>. */
import { struct } from '../lib/struct.ts'

export const Timespec = struct('timespec', 16, { tv_sec: 'size', tv_nsec: 'size' })

/** Of the two times only where they are: each is a {@link Timespec}. */
export const Itimerspec = struct('itimerspec', 32, {
  it_interval: 'u64',
  _pad0: 'u64',
  it_value: 'u64',
  _pad1: 'u64',
})

export const CLOCK_MONOTONIC = 1
export const TFD_NONBLOCK = 0o4000
export const TFD_CLOEXEC = 0o2000000
