/** Asks the C compiler, which has read the kernel's headers. */
import { execFileSync } from 'node:child_process'
import { Scratch } from './scratch.ts'

/**
 * Compiles and runs a C program, and returns what it printed.
 *
 * @throws when there is no compiler or no headers, saying what to install; when it refuses, with what it said
 */
export function runC(source: string): string {
  using scratch = new Scratch()
  const file = scratch.write('program.c', source)
  const program = `${scratch.path}/program`
  try {
    execFileSync('cc', ['-D_GNU_SOURCE', '-o', program, file], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    })
  } catch (error) {
    throw new Error(refusal(error as { code?: string; stderr?: string }), { cause: error })
  }
  return execFileSync(program, { encoding: 'utf8' })
}

function refusal({ code, stderr = '' }: { code?: string; stderr?: string }): string {
  if (code === 'ENOENT') return 'no cc in PATH: install gcc and libc6-dev'
  return /fatal error: .*No such file/.test(stderr)
    ? `a header is missing: install libc6-dev and linux-libc-dev\n${stderr}`
    : `cc refused the program:\n${stderr}`
}
