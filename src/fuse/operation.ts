/** One operation of the protocol: what it works on, and what it may answer. */
import { ErrnoError, type ErrnoCode } from '../lib/errno.ts'
import type { Fields, Struct, View } from '../lib/struct.ts'
import { type InodeTable, pathOf } from './inode-table.ts'
import type { Invalidation } from './invalidation.ts'
import type { OpenDirectory } from './open-directory.ts'
import type { OpenFile } from './open-file.ts'
import type { Call, PendingCalls } from './pending-calls.ts'
import type { Reply } from './reply.ts'
import type { Request } from './request.ts'

/** What operations work on. */
export interface Served {
  readonly table: InodeTable
  readonly reply: Reply
  readonly invalidation: Invalidation
  readonly pending: PendingCalls
  readonly files: Map<number, OpenFile>
  readonly directories: Map<number, OpenDirectory>
  readonly newHandle: () => number
  /** What is to be undone if it comes to a refusal after all, or the reply reaches nobody. */
  readonly onUnheard: (undo: () => void) => void
  readonly complain: (message: string) => void
}

/** The length of a body that has been built in `reply`; that there is no reply; or what will build a body later. */
export type Answer =
  | number
  | typeof NO_REPLY
  | { readonly call: Call; readonly body: Promise<() => number> }
export const NO_REPLY = 'no reply'

export interface Operation {
  readonly name: string
  run(request: Request, served: Served): Answer
}

/** The fixed part of a request. */
export type Body<F> = F extends Struct<infer G> ? View<G> : never

/** One whose request has a fixed part. */
export function operation<F extends Fields>(
  name: string,
  layout: Struct<F>,
  run: (body: View<F>, request: Request, served: Served) => Answer,
): Operation {
  const view = layout.view()
  return {
    name,
    run: (request, served) => run(request.body(view, layout.size), request, served),
  }
}

export function bare(name: string, run: (request: Request, served: Served) => Answer): Operation {
  return { name, run }
}

/** What sysfs has no operation for. */
export function refused(name: string, code: ErrnoCode): Operation {
  return {
    name,
    run(request, { table }) {
      throw new ErrnoError(code, `${name} in ${pathOf(table.get(request.nodeid))}: not possible`)
    },
  }
}
