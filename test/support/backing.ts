/** Files of every kind that a client may back its memory with. */
import { ftruncateSync, openSync } from 'node:fs'
import { createMemfd } from '../../src/os/memfd.ts'
import { makeMemfd, MFD_ALLOW_SEALING } from './fds.ts'
import type { Scratch } from './scratch.ts'

export const KINDS = ['sealed memfd', 'unsealed memfd', 'unsealable memfd', 'file on disk'] as const
export type Kind = (typeof KINDS)[number]

/** The kinds that cannot shrink, or can be kept from it. */
export const MAPPABLE: ReadonlySet<Kind> = new Set(['sealed memfd', 'unsealed memfd'])

/** @returns an fd, owned by the caller, of a file of `size` zeros */
export function makeBacking(kind: Kind, size: number, scratch: Scratch): number {
  if (kind === 'sealed memfd') return createMemfd('backing', size)
  const fd =
    kind === 'file on disk'
      ? openSync(scratch.write('backing', ''), 'r+')
      : makeMemfd(kind === 'unsealed memfd' ? MFD_ALLOW_SEALING : 0)
  ftruncateSync(fd, size)
  return fd
}
