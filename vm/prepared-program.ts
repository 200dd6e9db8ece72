/** Runs a program of a prepared root on this machine: by the root's own dynamic linker, with the root's own libraries. */
import { join } from 'node:path'

export const LIBRARIES = 'usr/lib/x86_64-linux-gnu'
export const LINKER = join(LIBRARIES, 'ld-linux-x86-64.so.2')

/**
 * Program and leading arguments that run `<root>/<program>`, which may depend on nothing of this machine.
 *
 * @param directories with libraries besides the usual one, relative to the root
 */
export function preparedProgram(
  root: string,
  program: string,
  directories: readonly string[] = [],
): [string, ...string[]] {
  return [
    join(root, LINKER),
    '--argv0', // some programs are told by it what to be
    program.slice(program.lastIndexOf('/') + 1),
    '--library-path',
    [LIBRARIES, ...directories].map((directory) => join(root, directory)).join(':'),
    join(root, program),
  ]
}
