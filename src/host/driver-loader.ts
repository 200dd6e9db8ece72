/** Finds and loads a driver: a shipped one by name, any other by the path of its module, or as a package. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { register } from 'node:module'
import { extname, isAbsolute, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Clock, systemClock } from '../lib/clock.ts'
import { placeOf, withPlace } from '../lib/driver-fault.ts'
import { describeError, ErrnoError } from '../lib/errno.ts'
import { inTime } from '../lib/within.ts'
import { checkDriver } from '../mdev/check-driver.ts'
import type { Driver } from '../mdev/driver.ts'
import { packageSpecifier } from './package-specifier.ts'

const SHIPPED = fileURLToPath(new URL('../../drivers', import.meta.url))
/** How long a module may take to load. */
const LOAD_MS = 20_000
const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs']

/** Names of the drivers that come with mdevkit. */
export function shippedDrivers(): string[] {
  if (!existsSync(SHIPPED)) return []
  return readdirSync(SHIPPED, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .toSorted()
}

/**
 * Loads a driver.
 *
 * @param specifier a shipped driver's name, the path of a module that exports one driver (`.ts` or `.js`), or the name of a
 *                  package that does, as a module in the working directory would import it
 * @throws ENOENT none of them is there · EINVAL the module cannot be loaded, or exports no driver, or several · ETIMEDOUT it
 *         waits for something for ever
 */
export async function loadDriver(
  specifier: string,
  clock: Pick<Clock, 'after'> = systemClock,
): Promise<Driver> {
  const shipped = !isPath(specifier) && shippedDrivers().includes(specifier)
  const file = isPath(specifier) ? modulePath(specifier) : shippedPath(specifier)
  const isPackage = !isPath(specifier) && !shipped
  if (isPackage && !PACKAGE.test(specifier)) throw notFound(specifier)
  if (!shipped) registerHooks()
  let module: Record<string, unknown>
  try {
    const target = isPackage ? packageSpecifier(specifier, process.cwd()) : pathToFileURL(file).href
    const loading = import(target) as Promise<Record<string, unknown>>
    module = await inTime(loading, `driver ${specifier}: its module`, LOAD_MS, clock)
  } catch (error) {
    if (error instanceof ErrnoError && error.code === 'ETIMEDOUT') throw error
    if (isPackage && isNotFound(error, specifier)) throw notFound(specifier)
    throw new ErrnoError(
      'EINVAL',
      `driver ${specifier}: cannot be loaded: ${whatAndWhere(await placed(error, file))}`,
      { cause: error },
    )
  }
  return driverOf(module, specifier)
}

function isPath(specifier: string): boolean {
  if (/^@[^/]+\/[^/]+$/.test(specifier)) return false // a package with a scope
  return isAbsolute(specifier) || specifier.includes(sep) || EXTENSIONS.includes(extname(specifier))
}

function shippedPath(name: string): string {
  return resolve(SHIPPED, name, `${name}.js`)
}

/** As npm takes it for new packages, or a part of one. */
const PACKAGE = /^(@[\w-][\w.-]*\/)?[\w-][\w.-]*(\/.+)?$/

/** Whether it is the package itself that is missing, and not something that it imports. */
function isNotFound(error: unknown, name: string): boolean {
  const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
  return missing && error.message.includes(`package '${name}'`)
}

function notFound(name: string): ErrnoError {
  if (existsSync(name)) return noModule(name)
  const shipped = shippedDrivers().join(', ')
  return new ErrnoError(
    'ENOENT',
    `driver ${JSON.stringify(name)}: not shipped, unlike ${shipped}, and no package here; for a module give its path, such as ./${name || 'driver'}.ts`,
  )
}

function modulePath(path: string): string {
  const file = resolve(path)
  if (!existsSync(file)) throw new ErrnoError('ENOENT', `driver ${path}: no such file`)
  if (!statSync(file).isFile() || !EXTENSIONS.includes(extname(file))) {
    throw noModule(path)
  }
  return file
}

function noModule(path: string): ErrnoError {
  return new ErrnoError('EINVAL', `driver ${path}: not a ${EXTENSIONS.join(', ')} file`)
}

let hooked = false

function registerHooks(): void {
  if (hooked) return
  hooked = true
  register('./driver-hooks.js', import.meta.url)
}

function driverOf(module: Record<string, unknown>, specifier: string): Driver {
  const drivers = [...new Set(Object.values(module).filter(looksLikeDriver))]
  const [driver] = drivers
  if (driver === undefined) {
    throw new ErrnoError(
      'EINVAL',
      `driver ${specifier}: exports no driver; export one made by defineDriver()`,
    )
  }
  if (drivers.length > 1) {
    const names = drivers.map(({ name }) => name).join(', ')
    throw new ErrnoError('EINVAL', `driver ${specifier}: exports several drivers: ${names}`)
  }
  checkDriver(driver)
  return driver
}

function looksLikeDriver(value: unknown): value is Driver {
  return (
    typeof value === 'object' &&
    value !== null &&
    'types' in value &&
    'probe' in value &&
    'name' in value
  )
}

/** Node does not say where JavaScript is wrong, but who reads TypeScript can. */
async function placed(error: unknown, file: string): Promise<unknown> {
  if (!(error instanceof SyntaxError) || placeOf(error) !== undefined) return error
  if (/\(.*:\d+\)$/.test(error.message) || !existsSync(file)) return error
  const { stripTypes } = await import('./strip-types.ts')
  try {
    stripTypes(readFileSync(file, 'utf8'), file)
  } catch (found) {
    return found
  }
  return error
}

/** The first line of an error, the place in a driver that it comes from, and what to do where that is known. */
function whatAndWhere(error: unknown): string {
  if (!(error instanceof Error)) return describeError(error)
  const [what = ''] = `${error.name}: ${error.message}`.split('\n', 1)
  const remedy = REMEDIES.find(([cause]) => cause.test(what))?.[1]
  return withPlace(what, error) + (remedy === undefined ? '' : `; ${remedy}`)
}

/** Of what befalls who writes a first driver. */
const REMEDIES: readonly (readonly [cause: RegExp, remedy: string])[] = [
  [/does not provide an export named/, "what is a type is imported by 'import type'"],
  [
    /Cannot find module 'mdevkit'$/,
    'a driver is an ES module: import mdevkit instead of require()',
  ],
]
