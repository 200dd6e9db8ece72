/** The rules of "Layers" in the design, as a function from sources to sentences about what breaks them. */
import { posix } from 'node:path'
import { importsOf } from './imports.ts'

const BELOW_HOST = ['lib', 'abi', 'os', 'iommu', 'device', 'mdev'] as const

/** Which folders of `src/` the files of each may import, besides their own. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  abi: ['lib'],
  os: ['lib', 'abi'],
  iommu: ['lib', 'abi', 'os'],
  device: ['lib', 'abi', 'os', 'iommu'],
  mdev: ['lib', 'abi', 'device'],
  'vfio-user': BELOW_HOST,
  host: [...BELOW_HOST, 'vfio-user'],
  sysfs: ['lib', 'mdev'],
  fuse: ['lib', 'abi', 'os'],
  http: ['lib', 'mdev'],
  daemon: [...BELOW_HOST, 'host', 'sysfs', 'fuse', 'http'],
  cli: ['lib', 'vfio-user', 'http', 'host', 'daemon'],
  'index.ts': ['lib', 'device', 'mdev', 'os', 'iommu'],
}

/** Written against the public SDK alone, so that a user could copy them. */
const SDK_USERS = new Set(['drivers', 'examples'])

/**
 * Everything in `files` that breaks the layering, as sentences.
 *
 * @param files text by path from the root, `/` between names; those outside `src/`, `drivers/` and `examples/` are free
 */
export function layeringFaults(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([file, text]) => {
    const top = file.split('/')[0] ?? ''
    if (top === 'src') return faultsInSrc(file, text)
    return SDK_USERS.has(top) ? faultsOfSdkUser(file, text) : []
  })
}

function faultsInSrc(file: string, text: string): string[] {
  const { specifiers, exportsDefault } = importsOf(text)
  const from = layerOf(file)
  const faults: string[] = []
  if (exportsDefault) faults.push(`${file} has a default export: export by name`)
  const allowed = MAY_IMPORT[from]
  if (allowed === undefined) return [...faults, `${file}: ${from} is no layer of the design`]

  for (const specifier of specifiers) {
    const imports = `${file} imports ${specifier}`
    if (!isRelative(specifier)) {
      if (isPackage(specifier, 'koffi') && from !== 'os') faults.push(`${imports}: only os may`)
      if (isPackage(specifier, 'mdevkit')) faults.push(`${imports}: src may not use its own name`)
      continue
    }
    const target = resolve(file, specifier)
    const to = layerOf(target)
    if (!target.startsWith('src/')) {
      faults.push(`${imports}: src may not use ${target.split('/')[0]}`)
    } else if (to === 'index.ts') {
      faults.push(`${imports}: import from the file that defines a thing`)
    } else if (from !== to && !allowed.includes(to)) {
      faults.push(`${imports}: ${from} may not use ${to}`)
    }
  }
  return faults
}

function faultsOfSdkUser(file: string, text: string): string[] {
  const [top = '', name = '', ...rest] = file.split('/')
  const folder = rest.length === 0 ? `${top}/` : `${top}/${name}/`
  return importsOf(text)
    .specifiers.filter((specifier) =>
      isRelative(specifier)
        ? !resolve(file, specifier).startsWith(folder)
        : !mayName(top, specifier),
    )
    .map(
      (specifier) =>
        `${file} imports ${specifier}: ${top} may use mdevkit by that name, node and files of ${folder}`,
    )
}

/** Drivers know no clients; examples show how to write either. */
function mayName(top: string, specifier: string): boolean {
  if (specifier === 'mdevkit/client') return top === 'examples'
  return specifier === 'mdevkit' || specifier.startsWith('node:')
}

/** `abi` of `src/abi/vfio.ts`, `index.ts` of `src/index.ts`. */
function layerOf(file: string): string {
  return file.split('/')[1] ?? ''
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith('.') || specifier.startsWith('/')
}

function isPackage(specifier: string, name: string): boolean {
  return specifier === name || specifier.startsWith(`${name}/`)
}

function resolve(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier)
}
