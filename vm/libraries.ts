/** Which shared libraries a program of a prepared root needs. */
import { relative } from 'node:path'
import { execute } from './execute.ts'
import { preparedProgram } from './prepared-program.ts'

/**
 * The shared libraries that a program of the root would be run with, its dynamic linker among them; relative to the root.
 *
 * @param directories of libraries that look for others in places of their own, relative to the root
 */
export async function libraries(
  root: string,
  program: string,
  signal: AbortSignal | undefined,
  directories: readonly string[] = [],
): Promise<string[]> {
  const [linker, ...args] = preparedProgram(root, program, directories)
  const listing = await execute(linker, [...args.slice(0, -1), '--list', args.at(-1)!], { signal })
  const paths = listing.toString().matchAll(/=> (\/\S.*) \(0x[0-9a-f]+\)$/gm)
  return [...paths].map((match) => relative(root, match[1]!))
}
