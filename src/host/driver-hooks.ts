/**
 * Module hooks for a driver given as a path: types are stripped from `.ts` files, and 'mdevkit' is the mdevkit that runs,
 * wherever the file lies. They run on Node's hooks thread; see {@link loadDriver} for the other side.
 */
import { readFile } from 'node:fs/promises'
import type { LoadHook, ResolveHook } from 'node:module'
import { fileURLToPath } from 'node:url'
import swc from '@swc/wasm-typescript'
import { parsePackageSpecifier } from './package-specifier.ts'

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
  const source = await readFile(fileURLToPath(url), 'utf8')
  // Stripping leaves every character where it was, so stack traces need no source map.
  return { format: 'module', source: strip(source, url), shortCircuit: true }
}

/** @throws SyntaxError what is no TypeScript, or cannot be stripped: enums, namespaces, parameter properties */
function strip(source: string, url: string): string {
  try {
    return swc.transformSync(source, { mode: 'strip-only' }).code
  } catch (error) {
    const { message, startLine } = error as { message?: string; startLine?: number } // what swc throws is no Error
    throw new SyntaxError(`${message ?? 'no TypeScript'} (${url}:${startLine ?? 1})`, {
      cause: error,
    })
  }
}
