/** Files of this machine for a guest, as `--file` names them. */
import { readFile, stat } from 'node:fs/promises'
import { basename, posix } from 'node:path'
import { describeError, ErrnoError, errnoCode, errnoOf } from '../src/lib/errno.ts'
import { bytes } from '../src/lib/format.ts'
import type { GuestFile } from '../vm/initramfs.ts'

/** Where those go that name no place. */
const HOME = '/root/'
/** Of the guest's memory, the part that files may fill: twice they are there while the guest unpacks them. */
const MOST_OF_MEMORY = 1 / 3

/**
 * Reads them, each `PATH` or `PATH:PLACE`, the place being absolute in the guest; a directory where it ends with `/`.
 *
 * @throws ENOENT and the like: it cannot be read · EINVAL no file, or no place · EEXIST two have one place · ENOSPC all are too
 *         big for the guest's memory
 */
export async function readHostFiles(
  words: readonly string[],
  memoryMiB: number,
): Promise<GuestFile[]> {
  const files = new Map<string, GuestFile>()
  const most = memoryMiB * 2 ** 20 * MOST_OF_MEMORY
  let size = 0
  for (const word of words) {
    const { from, path } = await placeOf(word)
    if (files.has(path)) throw new ErrnoError('EEXIST', `file ${word}: ${path} is given twice`)
    const found = await statOf(from)
    if (!found.isFile()) throw new ErrnoError('EINVAL', `file ${from}: not a regular file`)
    size += found.size
    if (size > most)
      throw new ErrnoError(
        'ENOSPC',
        `file ${from}: ${bytes(size)} of files for a guest of ${memoryMiB} MiB; give it more with --memory`,
      )
    files.set(path, { path, mode: found.mode & 0o7777, content: await readFile(from) })
  }
  return [...files.values()]
}

async function placeOf(word: string): Promise<{ readonly from: string; readonly path: string }> {
  const at = word.lastIndexOf(':')
  const isWhole = at < 0 || (await isThere(word)) // a name may have a colon
  const from = isWhole ? word : word.slice(0, at)
  const place = isWhole ? HOME : word.slice(at + 1)
  const path = posix.normalize(place.endsWith('/') ? place + basename(from) : place)
  if (!place.startsWith('/'))
    throw new ErrnoError(
      'EINVAL',
      `file ${word}: its place in the guest must be absolute, such as ${HOME}${basename(from)}`,
    )
  if (path === '/init' || path === '/')
    throw new ErrnoError('EINVAL', `file ${word}: ${path} is the guest's own; give another place`)
  return { from, path }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function statOf(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    throw new ErrnoError(errnoCode(errnoOf(error)), `file ${path}: ${describeError(error)}`, {
      cause: error,
    })
  }
}
