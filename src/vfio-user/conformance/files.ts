/** Files that checks give away. */
import { openSync } from 'node:fs'
import { closeFd, O_RDONLY } from '../../os/fd.ts'
import { EventFd } from '../../os/eventfd.ts'
import { EPOLLIN, reactor } from '../../os/reactor.ts'
import { createMemfd } from '../../os/memfd.ts'
import type { Context } from './check.ts'

/** Memory of `size` bytes. @returns its fd, closed at the end of the check */
export function memory(context: Context, size: number): number {
  return owned(context, createMemfd('mdevkit-conformance', size))
}

/** The same memory, opened for reading alone. */
export function readOnly(context: Context, fd: number): number {
  return owned(context, openSync(`/proc/self/fd/${fd}`, O_RDONLY))
}

export function eventfd(context: Context): EventFd {
  return context.own(EventFd.create())
}

/** Whether it is signalled, by now or soon; its counter is 0 afterwards. */
export async function isSignalled(context: Context, told: EventFd): Promise<boolean> {
  if (told.drain()) return true
  return await new Promise<boolean>((resolve) => {
    const settle = (signalled: boolean) => {
      clearTimeout(timer)
      watch.close()
      resolve(signalled)
    }
    const timer = setTimeout(() => settle(false), context.limitMs)
    const watch = reactor().watch(told.fd, EPOLLIN, () => {
      if (told.drain()) settle(true)
    })
  })
}

function owned(context: Context, fd: number): number {
  context.own({ [Symbol.dispose]: () => closeFd(fd) })
  return fd
}
