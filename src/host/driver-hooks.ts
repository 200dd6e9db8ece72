/**
 * Module hooks for a driver given as a path: types are stripped from `.ts` files, and 'mdevkit' is the mdevkit that runs,
 * wherever the file lies. They run on Node's hooks thread; see {@link loadDriver} for the other side.
 */
import { readFile } from 'node:fs/promises'
import type { LoadHook, ResolveHook } from 'node:module'
import { fileURLToPath } from 'node:url'
import { parsePackageSpecifier } from './package-specifier.ts'
import { stripTypes } from './strip-types.ts'

const TYPESCRIPT = /^file:.*\.m?ts$/

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === 'mdevkit')
    return { url: new URL('../index.js', import.meta.url).href, shortCircuit: true }
  const wanted = parsePackageSpecifier(specifier)
  if (wanted === undefined) return next(specifier, context)
  return next(wanted.name, { ...context, parentURL: wanted.parentURL })
}

export const load: LoadHook = async (url, context, next) => {
  if (!TYPESCRIPT.test(url)) return next(url, context)
  const path = fileURLToPath(url)
  const source = stripTypes(await readFile(path, 'utf8'), path)
  return { format: 'module', source, shortCircuit: true }
}
