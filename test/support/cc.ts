/** The C compiler: programs for a guest, and questions to somebody who has read the kernel's headers. */
import { execFileSync } from 'node:child_process'
import { Scratch } from './scratch.ts'

/**
 * Compiles a C file into a program.
 *
 * @param options of the compiler, besides
 * @throws when there is no compiler or no headers, saying what to install; when it refuses, with what it said
 */
export function compileC(source: string, program: string, options: readonly string[] = []): void {
  try {
    execFileSync('cc', ['-D_GNU_SOURCE', ...options, '-o', program, source], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    })
  } catch (error) {
    throw new Error(refusal(error as { code?: string; stderr?: string }), { cause: error })
  }
}

/** Compiles and runs a C program, and returns what it printed. @throws as {@link compileC} */
export function runC(source: string): string {
  using scratch = new Scratch()
  const program = `${scratch.path}/program`
  compileC(scratch.write('program.c', source), program)
  return execFileSync(program, { encoding: 'utf8' })
}

function refusal({ code, stderr = '' }: { code?: string; stderr?: string }): string {
  if (code === 'ENOENT') return 'no cc in PATH: install gcc and libc6-dev'
  return /fatal error: .*No such file/.test(stderr)
    ? `a header is missing: install libc6-dev and linux-libc-dev\n${stderr}`
    : `cc refused the program:\n${stderr}`
}
