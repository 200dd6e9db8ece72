/** A root directory unpacked from Debian packages: prepared once, beside the cache's other roots, and kept. */
import { mkdir, mkdtemp, open, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Apt, type Download } from './apt.ts'
import { locked } from './cache.ts'
import { execute } from './execute.ts'

const MANIFEST = 'manifest.json' // written last: a root that has one is whole
const UNUSED = ['doc', 'doc-base', 'info', 'lintian', 'locale', 'man'].map((name) =>
  join('usr/share', name),
)

/** How a root is made. `T` is what its manifest says about it. */
export interface RootRecipe<T> {
  /** The directory's name; changes whenever what is in it does. */
  readonly name: string
  /** In words, for the one who waits for it. */
  readonly title: string
  /** Chooses the packages; may update the lists first. */
  choose(apt: Apt): Promise<readonly Download[]>
  /** Finishes the unpacked root and describes it. */
  finish(root: string, signal: AbortSignal | undefined): Promise<T>
}

export interface Root<T> {
  readonly path: string
  readonly about: T
}

export interface PrepareOptions {
  /** Told in whole lines what is fetched and kept. */
  readonly onProgress?: ((line: string) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * The root of this recipe, prepared now if the cache does not have it.
 *
 * @param cache the cache directory; created if need be
 * @throws what {@link Apt} throws
 */
export async function debianRoot<T>(
  cache: string,
  recipe: RootRecipe<T>,
  options: PrepareOptions = {},
): Promise<Root<T>> {
  const path = join(cache, recipe.name)
  const kept = await load<T>(path)
  if (kept) return kept
  const say = options.onProgress ?? (() => {})
  await mkdir(cache, { recursive: true })
  return locked(
    path,
    // another process may have prepared it while we waited
    async () => (await load<T>(path)) ?? make(path, recipe, say, options.signal),
    {
      signal: options.signal,
      onWait: () => say(`${recipe.title}: waiting for another process that prepares it`),
    },
  )
}

async function make<T>(
  path: string,
  recipe: RootRecipe<T>,
  say: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<Root<T>> {
  // under the lock: whoever left such a directory behind was killed
  for (const name of await readdir(dirname(path))) {
    if (name.startsWith(`${basename(path)}.tmp-`)) await discard(join(dirname(path), name))
  }
  const scratch = await mkdtemp(`${path}.tmp-`)
  try {
    const root = join(scratch, 'root')
    await mkdir(root)
    const packages = await fetchAndUnpack(recipe, join(scratch, 'apt'), root, say, signal)
    const about = await recipe.finish(root, signal)
    const manifest = JSON.stringify({ name: recipe.name, about, packages }, undefined, 2)
    await writeFile(join(root, MANIFEST), `${manifest}\n`)
    await sync(root, signal)
    await discard(path) // without a manifest, or it would have been used
    await rename(root, path)
    say(`${recipe.title}: kept in ${path}`)
    return { path, about }
  } finally {
    await discard(scratch)
  }
}

async function fetchAndUnpack<T>(
  recipe: RootRecipe<T>,
  directory: string,
  root: string,
  say: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  await mkdir(directory)
  const apt = await Apt.open(directory, signal)
  say(`${recipe.title}: reading the package lists of Debian at ${apt.mirror}`)
  const unpacked: string[] = []
  for (const download of await recipe.choose(apt)) {
    const { count, size } = await apt.plan(download)
    const what = `${download.packages.join(', ')} from ${download.suite}`
    say(
      `${recipe.title}: fetching ${what}: ${count} package${count === 1 ? '' : 's'}, ${(size / 1e6).toFixed(1)} MB`,
    )
    const tell = everyQuarter(size, (part) => say(`${recipe.title}: ${part}`))
    for (const file of await apt.download(download, tell)) {
      await execute('dpkg-deb', ['--extract', file, root], { signal })
      await rm(file)
      unpacked.push(basename(file, '.deb'))
    }
  }
  for (const name of UNUSED) await discard(join(root, name))
  return unpacked.toSorted()
}

/** Says how far it is whenever another quarter of `total` bytes has come. */
function everyQuarter(total: number, say: (part: string) => void): (bytes: number) => void {
  let said = 0
  return (bytes) => {
    const quarter = Math.floor((4 * bytes) / total)
    if (quarter <= said || quarter > 3) return
    said = quarter
    say(`${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`)
  }
}

async function load<T>(path: string): Promise<Root<T> | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(path, MANIFEST), 'utf8')) as { about: T }
    return { path, about: manifest.about }
  } catch {
    return undefined // not there, or torn: prepared anew
  }
}

/** All of the root reaches the disk before its final name does. */
async function sync(root: string, signal: AbortSignal | undefined): Promise<void> {
  await execute('sync', ['--file-system', root], { signal })
  const directory = await open(dirname(root))
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}
