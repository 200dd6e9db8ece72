/** Compiles the C programs of the benchmark. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ErrnoError } from '../src/lib/errno.ts'

/** What most parts need. */
export interface CPrograms {
  /** bench/c/echo.c: the floor that servers are compared with. */
  readonly echo: string
  /** bench/c/client.c: the measuring client. */
  readonly client: string
}

const SOURCES = fileURLToPath(new URL('../../bench/c/', import.meta.url)) // from dist/bench/

/**
 * Compiles bench/c/`name`.c into `directory`.
 *
 * @param flags further ones for the compiler
 * @throws ENOENT no C compiler
 */
export function compileC(name: string, directory: string, ...flags: readonly string[]): string {
  const output = join(directory, name)
  const source = join(SOURCES, `${name}.c`)
  try {
    execFileSync('cc', ['-O2', '-Wall', '-std=gnu11', ...flags, '-o', output, source], {
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
    throw new ErrnoError('ENOENT', 'cc: not found; install a C compiler (Debian: gcc libc6-dev)')
  }
  return output
}

/** @throws as {@link compileC} */
export function compile(directory: string): CPrograms {
  return { echo: compileC('echo', directory), client: compileC('client', directory) }
}
