/** The unmodified mdevctl of a Debian suite, prepared as QEMU is. */
import { existsSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheDirectory } from './cache.ts'
import { type PrepareOptions, type RootRecipe, debianRoot } from './debian-root.ts'
import { preparedProgram } from './prepared-program.ts'

/** Suites, by the mdevctl that they have. */
const SUITES = { '1.2': 'bookworm', '1.4': 'trixie' } as const

export interface Mdevctl {
  /** Program and leading arguments. */
  readonly argv: readonly string[]
  /** Such as 1.4.0. */
  readonly version: string
}

function mdevctlRoot(suite: string): RootRecipe<{ version: string }> {
  let version = ''
  return {
    name: `debian-mdevctl-${suite}-1`,
    title: `mdevctl of ${suite}`,
    async choose(apt) {
      await apt.update([suite])
      const [upstream = ''] = (await apt.version('mdevctl', suite))?.split('-') ?? []
      version = upstream
      return [{ suite, packages: ['mdevctl'], dependencies: true }]
    },
    async finish(root) {
      // from before /lib became a link to /usr/lib
      const lib = join(root, 'lib')
      if (existsSync(lib)) await cp(lib, join(root, 'usr/lib'), { recursive: true })
      return { version }
    },
  }
}

/** @throws ENOENT it is not in the cache, and cannot be prepared; the message says what to do */
export async function prepareMdevctl(
  version: keyof typeof SUITES,
  options: PrepareOptions = {},
): Promise<Mdevctl> {
  const recipe = mdevctlRoot(SUITES[version])
  const { path, about } = await debianRoot(cacheDirectory(), recipe, options)
  return { argv: preparedProgram(path, 'usr/bin/mdevctl'), version: about.version }
}
