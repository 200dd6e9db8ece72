/** Roots appear in the cache whole or not at all, whoever else prepares them at the same time. */
import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { cacheDirectory } from '../../vm/cache.ts'
import { type RootRecipe, debianRoot } from '../../vm/debian-root.ts'
import { Scratch } from '../support/scratch.ts'

/** A recipe without packages: nothing is fetched. */
function recipe(finish: (root: string) => Promise<number>): RootRecipe<number> {
  return { name: 'root-1', title: 'a root', choose: async () => [], finish }
}

test('debianRoot() prepares once for all who ask at the same time', async () => {
  using scratch = new Scratch()
  const cache = scratch.path
  let count = 0
  const once = recipe(async (root) => {
    await writeFile(join(root, 'file'), '')
    return ++count
  })
  const said: string[] = []
  const options = { onProgress: (line: string) => said.push(line) }
  const roots = await Promise.all([1, 2, 3].map(async () => debianRoot(cache, once, options)))
  for (const root of roots) assert.deepEqual(root, { path: join(cache, 'root-1'), about: 1 })
  assert.deepEqual(await readdir(cache), ['root-1'])
  assert.deepEqual((await readdir(join(cache, 'root-1'))).toSorted(), ['file', 'manifest.json'])
  assert.ok(said.includes('a root: waiting for another process that prepares it'))
  assert.ok(said.includes(`a root: kept in ${join(cache, 'root-1')}`))
})

test('debianRoot() leaves nothing behind when it fails, and works the next time', async () => {
  using scratch = new Scratch()
  const cache = scratch.path
  const failing = recipe(async () => {
    throw new Error('no')
  })
  await assert.rejects(debianRoot(cache, failing), { message: 'no' })
  assert.deepEqual(await readdir(cache), [])
  const root = await debianRoot(
    cache,
    recipe(async () => 7),
  )
  assert.equal(root.about, 7)
})

test('debianRoot() replaces a torn root and removes what a killed preparation left', async () => {
  using scratch = new Scratch()
  const cache = scratch.path
  scratch.write('root-1/usr/bin/torn', '')
  scratch.write('root-1.tmp-abcdef/root/usr/bin/left', '')
  const root = await debianRoot(
    cache,
    recipe(async () => 7),
  )
  assert.deepEqual(await readdir(cache), ['root-1'])
  assert.deepEqual(await readdir(root.path), ['manifest.json'])
})

test('cacheDirectory() follows MDEVKIT_CACHE, then XDG_CACHE_HOME', () => {
  assert.equal(cacheDirectory({ MDEVKIT_CACHE: '/c', XDG_CACHE_HOME: '/x' }), '/c')
  assert.equal(cacheDirectory({ XDG_CACHE_HOME: '/x' }), '/x/mdevkit')
  assert.match(cacheDirectory({ XDG_CACHE_HOME: 'relative' }), /\/\.cache\/mdevkit$/)
  assert.match(cacheDirectory({}), /\/\.cache\/mdevkit$/)
})
