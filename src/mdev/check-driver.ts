/** Whether a module's driver is one: what the compiler says to who writes in TypeScript, said to everyone. */
import { inspect } from 'node:util'
import { describeError, ErrnoError } from '../lib/errno.ts'
import { checkDeclaredName } from './attribute-name.ts'
import type { Driver, TypeInfo } from './driver.ts'
import { GROUP } from './group-attribute.ts'

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/

/** Classes that sysfs has anyway: each driver's parents are in a class of its name. */
const CLASSES: ReadonlySet<string> = new Set(['mdev_bus', 'vfio-dev'])

const HOOKS = [
  'open',
  'close',
  'available',
  'groupOpen',
  'groupClose',
  'parentStatus',
  'typeStatus',
  'changeParentAttributes',
] as const satisfies readonly (keyof Driver)[]

/** @throws EINVAL it is no driver, or nearly one, saying what is wrong: a name that no file can have, no types … */
export function checkDriver(value: unknown): void {
  const driver = (value ?? {}) as Partial<Driver>
  const name = String(driver.name)
  if (typeof driver.name !== 'string' || !NAME.test(name)) {
    throw new ErrnoError(
      'EINVAL',
      `driver name ${JSON.stringify(name)}: letters, digits, _ . - only`,
    )
  }
  if (CLASSES.has(name))
    throw new ErrnoError(
      'EINVAL',
      `driver name ${name}: is a class in sysfs already; choose another`,
    )
  try {
    checkParts(driver)
  } catch (error) {
    throw new ErrnoError('EINVAL', `driver ${name}: ${messageOf(error)}`, { cause: error })
  }
}

function messageOf(error: unknown): string {
  return error instanceof ErrnoError ? error.message : describeError(error)
}

function checkParts(driver: Partial<Driver>): void {
  checkTypes(driver)
  checkAttributes(driver.attributes, 'mdev')
  checkAttributes(driver.parentAttributes, 'parent')
  const { maxInstances } = driver
  if (maxInstances !== undefined) {
    if (!Number.isInteger(maxInstances) || maxInstances < 0)
      throw fault(`maxInstances ${String(maxInstances)}`)
    if (driver.available !== undefined) throw fault('has both maxInstances and available')
  }
  for (const hook of HOOKS) {
    if (!['undefined', 'function'].includes(typeof driver[hook]))
      throw fault(`${hook} is no function`)
  }
  if (typeof driver.probe !== 'function') throw fault('has no probe')
}

function checkTypes(driver: Partial<Driver>): void {
  const types = Object.entries(driver.types ?? {})
  if (types.length === 0) throw fault('has no types')
  const ids = new Set(types.map(([id]) => id))
  for (const [id, type] of types) {
    if (!NAME.test(id)) throw fault(`bad type id ${JSON.stringify(id)}`)
    if (typeof type !== 'object' || type === null) throw fault(`type ${id} is no object`)
    checkTexts(id, type)
    if (type.peerToPeer === true && Object.hasOwn(driver.attributes ?? {}, GROUP))
      throw fault(`attribute ${GROUP} is not for drivers`)
    for (const alias of checkedAliases(id, type)) {
      if (ids.has(alias)) throw fault(`type ${id}: alias ${alias} is taken`)
      ids.add(alias)
    }
    checkTypeAttributes(driver, id, type)
  }
}

function checkTexts(id: string, type: TypeInfo): void {
  for (const key of ['name', 'description'] as const) {
    if (!['undefined', 'string'].includes(typeof type[key]))
      throw fault(`type ${id}: ${key} is no text`)
  }
}

function checkedAliases(id: string, { aliases = [] }: TypeInfo): readonly string[] {
  const isList = Array.isArray(aliases)
  const bad: unknown = isList ? aliases.find((alias) => !NAME.test(String(alias))) : aliases
  if (bad !== undefined) throw fault(`type ${id}: bad alias ${inspect(bad)}`)
  return aliases
}

function checkTypeAttributes(driver: Partial<Driver>, id: string, type: TypeInfo): void {
  for (const [name, attribute] of Object.entries(type.attributes ?? {})) {
    if (!Object.hasOwn(driver.attributes ?? {}, name))
      throw fault(`type ${id}: attribute ${name}: the driver declares no such attribute`)
    if (attribute !== false) checkAttribute(name, attribute, 'mdev')
  }
}

function checkAttributes(declared: unknown, of: 'mdev' | 'parent'): void {
  for (const [name, attribute] of Object.entries(declared ?? {}))
    checkAttribute(name, attribute, of)
}

function checkAttribute(name: string, attribute: unknown, of: 'mdev' | 'parent'): void {
  checkDeclaredName(name, of)
  const { parse, show } = (attribute ?? {}) as { parse?: unknown; show?: unknown }
  if (typeof parse !== 'function' || typeof show !== 'function')
    throw fault(`attribute ${name}: not made by text(), integer(), flag() or choice()`)
}

function fault(message: string): ErrnoError {
  return new ErrnoError('EINVAL', message)
}
