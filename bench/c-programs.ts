/** Compiles the two C programs of the benchmark. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ErrnoError } from '../src/lib/errno.ts'

export interface CPrograms {
  /** bench/c/echo.c: the floor that servers are compared with. */
  readonly echo: string
  /** bench/c/client.c: the measuring client. */
  readonly client: string
}

const SOURCES = fileURLToPath(new URL('../../bench/c/', import.meta.url)) // from dist/bench/

/**
 * Compiles them into `directory`.
 *
 * @throws ENOENT no C compiler
 */
export function compile(directory: string): CPrograms {
  const program = (name: string) => {
    const output = join(directory, name)
    const source = join(SOURCES, `${name}.c`)
    try {
      execFileSync('cc', ['-O2', '-Wall', '-std=gnu11', '-o', output, source], {
        stdio: ['ignore', 'inherit', 'inherit'],
      })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
      throw new ErrnoError('ENOENT', 'cc: not found; install a C compiler (Debian: gcc libc6-dev)')
    }
    return output
  }
  return { echo: program('echo'), client: program('client') }
}
