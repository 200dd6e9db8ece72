/** Where in a driver something went wrong: what its author wants to know first. */
import { fileURLToPath } from 'node:url'
import { describeError, ErrnoError } from './errno.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
/** Ours, also as source maps have it: what is thrown there was called for by somebody. */
const OWN = [here('..'), here('../../../src/')]
/** What calls us back. */
const CALLERS = /\/node_modules\/(commander|fastify|koffi|vscode-jsonrpc)\//
const SHIPPED = [here('../../drivers/'), here('../../../drivers/')]

/**
 * The place in a driver that `error` comes from, as `path:line`: the innermost call that is neither mdevkit's nor Node's.
 *
 * Undefined where there is none, and where the error is a refusal that says all: one that the driver words itself, or that a
 * shipped driver hands on.
 */
export function placeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const paths = pathsOf(error)
  const at = paths.findIndex(({ path }) => !isIn(OWN, path) && !CALLERS.test(path))
  const place = paths[at]
  if (place === undefined) return undefined
  const isRefusal = error instanceof ErrnoError || 'syscall' in error
  if (isRefusal && ((at === 0 && error instanceof ErrnoError) || isIn(SHIPPED, place.path)))
    return undefined
  return `${place.path}:${place.line}`
}

/** {@link describeError}, with the place where that helps. */
export function describeFault(error: unknown): string {
  return withPlace(describeError(error), error)
}

/** What is said of an error, with the place where that helps. */
export function withPlace(text: string, error: unknown): string {
  const place = placeOf(error)
  return place === undefined || text.includes(place) ? text : `${text} (${place})`
}

function isIn(directories: readonly string[], path: string): boolean {
  return directories.some((each) => path.startsWith(each))
}

interface Place {
  readonly path: string
  readonly line: string
}

/** Those of files, innermost first. A module that cannot be read has its place above the message. */
function pathsOf({ stack = '' }: Error): readonly Place[] {
  return stack.split('\n').flatMap((each) => {
    const [, url = '', line = ''] =
      /^\s+at (?:.* \()?((?:file:\/\/)?\/[^:]*):(\d+):\d+\)?$/.exec(each) ??
      /^((?:file:\/\/)?\/[^:]*):(\d+)$/.exec(each) ??
      []
    if (url === '') return []
    return [{ path: url.startsWith('file:') ? fileURLToPath(url) : url, line }]
  })
}
