/** How a package is named to the module hooks, which look for it from another place than the module that imports it. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const SCHEME = 'mdevkit-package:'

/** @param directory where to look, and above it */
export function packageSpecifier(name: string, directory: string): string {
  const from = pathToFileURL(join(directory, 'importer.js')).href
  return `${SCHEME}${JSON.stringify([name, from])}`
}

/** Undefined of any other specifier. */
export function parsePackageSpecifier(
  specifier: string,
): { readonly name: string; readonly parentURL: string } | undefined {
  if (!specifier.startsWith(SCHEME)) return undefined
  const [name, parentURL] = JSON.parse(specifier.slice(SCHEME.length)) as [string, string]
  return { name, parentURL }
}
