/** Checks a value against its shape. */
import type { Shape } from './shape.ts'

export interface ShapeFault {
  /** Keys and indices that lead to what is wrong. */
  readonly path: readonly string[]
  /** What would be right: `must be integer`. */
  readonly why: string
}

type Values = Readonly<Record<string, unknown>>

const patterns = new Map<string, RegExp>()

/** The first thing that is wrong with a value, which may be any; undefined where it has the shape. */
export function faultOf(shape: Shape, value: unknown): ShapeFault | undefined {
  const { type, anyOf } = shape
  if (anyOf !== undefined) return faultOfAny(anyOf, value)
  if (type !== undefined && !isOf(type, value)) return here(`must be ${type}`)
  if (typeof value === 'string') return faultOfString(shape, value)
  if (typeof value === 'number') return faultOfNumber(shape, value)
  if (Array.isArray(value)) return faultOfArray(shape, value)
  return type === 'object' ? faultOfObject(shape, value as Values) : undefined
}

/** Whether a value has the shape, for who need not say what is wrong with it. */
export function hasShape<T>(shape: Shape<T>, value: unknown): value is T {
  return faultOf(shape, value) === undefined
}

function here(why: string): ShapeFault {
  return { path: [], why }
}

/** The fault of a part. */
function below(key: string | number, shape: Shape, value: unknown): ShapeFault | undefined {
  const fault = faultOf(shape, value)
  return fault && { path: [String(key), ...fault.path], why: fault.why }
}

function isOf(type: NonNullable<Shape['type']>, value: unknown): boolean {
  switch (type) {
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    case 'array':
      return Array.isArray(value)
    case 'integer':
      return Number.isInteger(value)
    case 'null':
      return value === null
    default:
      return typeof value === type
  }
}

function faultOfString(shape: Shape, value: string): ShapeFault | undefined {
  const { minLength = 0, pattern } = shape
  if (value.length < minLength) return here(`must not have fewer than ${minLength} characters`)
  if (pattern !== undefined && !expressionOf(pattern).test(value))
    return here(`must match pattern "${pattern}"`)
  if (shape.const !== undefined && value !== shape.const)
    return here(`must be ${JSON.stringify(shape.const)}`)
  return undefined
}

function faultOfNumber(shape: Shape, value: number): ShapeFault | undefined {
  const { minimum = -Infinity, maximum = Infinity } = shape
  if (value < minimum) return here(`must be >= ${minimum}`)
  if (value > maximum) return here(`must be <= ${maximum}`)
  return undefined
}

function faultOfArray(shape: Shape, values: readonly unknown[]): ShapeFault | undefined {
  const { minItems = 0, maxItems = Infinity, items = {} } = shape
  for (const [index, value] of values.entries()) {
    const fault = below(index, items, value)
    if (fault !== undefined) return fault
  }
  if (values.length < minItems) return here(`must not have fewer than ${minItems} items`)
  if (values.length > maxItems) return here(`must not have more than ${maxItems} items`)
  return undefined
}

function faultOfObject(shape: Shape, object: Values): ShapeFault | undefined {
  const { required = [], properties = {}, patternProperties = {} } = shape
  const missing = required.filter((key) => !Object.hasOwn(object, key))
  if (missing.length > 0) return here(`must have required properties ${missing.join(', ')}`)
  const byPattern = Object.entries(patternProperties)
  for (const [key, value] of Object.entries(object)) {
    const its = Object.hasOwn(properties, key)
      ? properties[key]
      : byPattern.find(([pattern]) => expressionOf(pattern).test(key))?.[1]
    const rule = its ?? shape.additionalProperties
    if (rule === false) return { path: [key], why: 'not known here' }
    // who calls from within may say undefined for what is left out
    const isLeftOut = value === undefined && !required.includes(key)
    const fault = rule === undefined || isLeftOut ? undefined : below(key, rule, value)
    if (fault !== undefined) return fault
  }
  return undefined
}

/** Where none is right: what is wrong in a part of it, or else all that it might be. */
function faultOfAny(shapes: readonly Shape[], value: unknown): ShapeFault | undefined {
  const faults: ShapeFault[] = []
  for (const shape of shapes) {
    const fault = faultOf(shape, value)
    if (fault === undefined) return undefined
    faults.push(fault)
  }
  const inside = faults.find(({ path }) => path.length > 0)
  const words = new Set(faults.map(({ why }) => why.replace(/^must be /, '')))
  return inside ?? here(`must be ${[...words].join(' or ')}`)
}

function expressionOf(pattern: string): RegExp {
  const known = patterns.get(pattern)
  if (known !== undefined) return known
  const expression = new RegExp(pattern, 'u')
  patterns.set(pattern, expression)
  return expression
}
