/** Settings of an mdev that its creator may choose: each has a type, a default and a check. */
import { ErrnoError } from '../lib/errno.ts'

/** One setting. */
export interface Attribute<V> {
  readonly description: string
  readonly default: V
  /** What may be written, for messages: `pty|socket|loopback`. */
  readonly accepts: string
  /** @throws EINVAL, saying what would be right */
  parse(text: string): V
}

/** The settings a driver declares, by name. */
export type Attributes = Readonly<Record<string, Attribute<unknown>>>

/** The values of such settings, typed as declared. */
export type ValuesOf<A extends Attributes> = {
  readonly [K in keyof A]: A[K] extends Attribute<infer V> ? V : never
}

interface Common<V> {
  readonly default: V
  readonly description: string
}

/** One of a few words. */
export function choice<const V extends string>(
  values: readonly V[],
  { default: fallback, description }: Common<NoInfer<V>>,
): Attribute<V> {
  const accepts = values.join('|')
  return {
    description,
    default: fallback,
    accepts,
    parse(text) {
      const value = values.find((word) => word === text)
      if (value === undefined) throw refusal(text, accepts)
      return value
    },
  }
}

/** A whole number from `min` to `max`, decimal or 0x hex. */
export function integer({
  min,
  max,
  default: fallback,
  description,
}: Common<number> & { readonly min: number; readonly max: number }): Attribute<number> {
  const accepts = `${min}..${max}`
  return {
    description,
    default: fallback,
    accepts,
    parse(text) {
      const value = /^-?\d+$|^0x[0-9a-f]+$/i.test(text) ? Number(text) : Number.NaN
      if (!(value >= min && value <= max)) throw refusal(text, accepts)
      return value
    },
  }
}

/** Any text. */
export function text({ default: fallback, description }: Common<string>): Attribute<string> {
  return { description, default: fallback, accepts: 'text', parse: (value) => value }
}

function refusal(text: string, accepts: string): ErrnoError {
  return new ErrnoError('EINVAL', `${JSON.stringify(text)} is not one of ${accepts}`)
}

/**
 * The values of `attributes`, from texts by name; defaults where nothing is given.
 *
 * @throws ENOENT an unknown name · EINVAL a bad value
 */
export function parseAttributes<A extends Attributes>(
  attributes: A,
  texts: Readonly<Record<string, string>>,
): ValuesOf<A> {
  const values = new Map<string, unknown>(
    Object.entries(attributes).map(([name, attribute]) => [name, attribute.default]),
  )
  for (const [name, value] of Object.entries(texts)) {
    if (!Object.hasOwn(attributes, name)) {
      const known = Object.keys(attributes).join(', ') || 'none'
      throw new ErrnoError('ENOENT', `attribute ${name}: not known here; known: ${known}`)
    }
    try {
      values.set(name, attributes[name]?.parse(value))
    } catch (error) {
      if (error instanceof ErrnoError) {
        throw new ErrnoError(error.code, `attribute ${name}: ${error.message}`, { cause: error })
      }
      throw error
    }
  }
  return Object.fromEntries(values) as ValuesOf<A>
}
