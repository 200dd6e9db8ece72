/** Settings of a parent or of an mdev that its creator may choose: each has a type, a default and a check. */
import { ErrnoError } from '../lib/errno.ts'

/**
 * When a new value of a setting takes effect: at once, on a device in use; when the mdev is next started; or only in an
 * mdev made anew.
 */
export type AttributeChange = 'live' | 'next-start' | 're-creation'

/** One setting. */
export interface Attribute<V> {
  readonly description: string
  /** What it is where nobody says; undefined: somebody has to. */
  readonly default: V | undefined
  readonly change: AttributeChange
  /** What may be written, for messages: `pty|socket|loopback`. */
  readonly accepts: string
  /** The same, for programs: of JSON Schema. */
  readonly schema: AttributeSchema
  /** @throws EINVAL, saying what would be right */
  parse(text: string): V
  /** How a value reads: what {@link parse} takes. */
  show(value: V): string
}

/** What may be written, as JSON Schema has it; values themselves are always texts. */
export type AttributeSchema =
  | { readonly type: 'string'; readonly enum?: readonly string[] }
  | { readonly type: 'integer'; readonly minimum: number; readonly maximum: number }
  | { readonly type: 'boolean' }

/** The settings a driver declares, by name. */
export type Attributes = Readonly<Record<string, Attribute<unknown>>>

/** The values of such settings, typed as declared. */
export type ValuesOf<A extends Attributes> = {
  readonly [K in keyof A]: A[K] extends Attribute<infer V> ? V : never
}

/** Settings as written: name and text, in the order in which they apply. A name may come again; the last one holds. */
export type AttributeTexts = readonly (readonly [name: string, text: string])[]

type Common<V> = {
  readonly description: string
  /** 'next-start' unless given. */
  readonly change?: AttributeChange
} & (
  | { readonly default: V }
  /** There is no default: it has to be said. */
  | { readonly required: true }
)

/** One of a few words. */
export function choice<const V extends string>(
  values: readonly V[],
  common: Common<NoInfer<V>>,
): Attribute<V> {
  const accepts = values.join('|')
  return attribute(common, accepts, { type: 'string', enum: values }, (text) => {
    const value = values.find((word) => word === text)
    if (value === undefined) throw refusal(text, accepts)
    return value
  })
}

/** A whole number from `min` to `max`, decimal or 0x hex. */
export function integer({
  min,
  max,
  ...common
}: Common<number> & { readonly min: number; readonly max: number }): Attribute<number> {
  const accepts = `${min}..${max}`
  return attribute(common, accepts, { type: 'integer', minimum: min, maximum: max }, (text) => {
    const value = /^-?\d+$|^0x[0-9a-f]+$/i.test(text) ? Number(text) : Number.NaN
    if (!(value >= min && value <= max)) throw refusal(text, accepts)
    return value
  })
}

const YES = new Set(['1', 'y', 'yes', 'on', 'true'])
const NO = new Set(['0', 'n', 'no', 'off', 'false'])

/** A switch: `1` or `0`, or in words, in any case, as the kernel's kstrtobool takes them. */
export function flag(common: Common<boolean>): Attribute<boolean> {
  const parse = (text: string): boolean => {
    const word = text.toLowerCase()
    if (YES.has(word)) return true
    if (NO.has(word)) return false
    throw refusal(text, '0|1')
  }
  return attribute(common, '0|1', { type: 'boolean' }, parse, (value) => (value ? '1' : '0'))
}

/** Any text. */
export function text(common: Common<string>): Attribute<string> {
  return attribute(common, 'text', { type: 'string' }, (value) => value)
}

function attribute<V>(
  common: Common<V>,
  accepts: string,
  schema: AttributeSchema,
  parse: (text: string) => V,
  show: (value: V) => string = String,
): Attribute<V> {
  const { description, change = 'next-start' } = common
  const fallback = 'default' in common ? common.default : undefined
  return { description, default: fallback, change, accepts, schema, parse, show }
}

function refusal(text: string, accepts: string): ErrnoError {
  return new ErrnoError('EINVAL', `${JSON.stringify(text)} is not one of ${accepts}`)
}

/**
 * The values of `attributes` after `texts`, which apply in their order; what is not among them stays as it was.
 *
 * @param before the values so far; the defaults unless given
 * @throws ENOENT an unknown name · EINVAL a bad value, or none where one is required
 */
export function parseAttributes<A extends Attributes>(
  attributes: A,
  texts: AttributeTexts,
  before?: ValuesOf<A>,
): ValuesOf<A> {
  const values = new Map<string, unknown>(Object.entries(before ?? defaultsOf(attributes)))
  for (const [name, value] of texts) {
    const attribute = Object.hasOwn(attributes, name) ? attributes[name] : undefined
    if (attribute === undefined) {
      const known = Object.keys(attributes).join(', ') || 'none'
      throw new ErrnoError('ENOENT', `attribute ${name}: not known here; known: ${known}`)
    }
    try {
      values.set(name, attribute.parse(value))
    } catch (error) {
      if (error instanceof ErrnoError) {
        throw new ErrnoError(error.code, `attribute ${name}: ${error.message}`, { cause: error })
      }
      throw error
    }
  }
  for (const [name, { accepts }] of Object.entries(attributes)) {
    if (values.get(name) === undefined)
      throw new ErrnoError('EINVAL', `attribute ${name}: required, and not given: ${accepts}`)
  }
  return Object.fromEntries(values) as ValuesOf<A>
}

function defaultsOf(attributes: Attributes): Readonly<Record<string, unknown>> {
  const defaults = Object.entries(attributes).map(([name, attribute]) => [name, attribute.default])
  return Object.fromEntries(defaults) as Readonly<Record<string, unknown>>
}

/** How the values of `attributes` read, each as it may be written. */
export function showAttributes<A extends Attributes>(
  attributes: A,
  values: ValuesOf<A>,
): Readonly<Record<string, string>> {
  const texts = Object.entries(attributes).map(([name, attribute]) => [
    name,
    attribute.show(values[name]),
  ])
  return Object.fromEntries(texts) as Readonly<Record<string, string>>
}

/** The texts of settings after `texts` were written over those of `before`. */
export function mergeTexts(before: AttributeTexts, texts: AttributeTexts): AttributeTexts {
  const names = new Set(texts.map(([name]) => name))
  return [...before.filter(([name]) => !names.has(name)), ...texts]
}

/** @throws EOPNOTSUPP one of `texts` takes effect only in an mdev made anew */
export function mustBeChangeable(attributes: Attributes, texts: AttributeTexts): void {
  const name = texts.find(([each]) => attributes[each]?.change === 're-creation')?.[0]
  if (name !== undefined)
    throw new ErrnoError('EOPNOTSUPP', `attribute ${name}: takes effect only in an mdev made anew`)
}

/** Settings that change that way and have other values in `next`. */
export function differingNames<A extends Attributes>(
  attributes: A,
  values: ValuesOf<A>,
  next: ValuesOf<A>,
  change: AttributeChange,
): readonly string[] {
  const [before, after] = [showAttributes(attributes, values), showAttributes(attributes, next)]
  return Object.keys(attributes).filter(
    (name) => attributes[name]?.change === change && before[name] !== after[name],
  )
}
