/**
 * Shapes of values that others send or write, declared once: a JSON Schema to check by and to publish, and for the
 * compiler the type of what passes.
 *
 * {@link faultOf} checks. Only those keywords are known that are made here.
 */

declare const VALUE: unique symbol
const OPTIONAL = Symbol('optional')

/** A JSON Schema for values of type `T`. */
export interface Shape<T = unknown> {
  readonly [VALUE]?: T // for the compiler only
  readonly description?: string
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean' | 'null'
  readonly const?: string
  readonly anyOf?: readonly Shape[]
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Shape>>
  readonly patternProperties?: Readonly<Record<string, Shape>>
  readonly additionalProperties?: Shape | false
  readonly items?: Shape
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
}

/** The type of what has this shape. */
export type Static<S extends Shape> = S extends Shape<infer T> ? T : never

interface OptionalShape<T> extends Shape<T> {
  readonly [OPTIONAL]: true
}

type Properties = Readonly<Record<string, Shape>>
type Options<K extends keyof Shape = never> = Pick<Shape, K | 'description'>
type OptionalKey<P> = { [K in keyof P]: P[K] extends OptionalShape<unknown> ? K : never }[keyof P]
type Flat<T> = { [K in keyof T]: T[K] }
type Object<P extends Properties> = Flat<
  { [K in Exclude<keyof P, OptionalKey<P>>]: Static<P[K]> } & {
    [K in OptionalKey<P>]?: Static<P[K]>
  }
>

/** What shapes are made of. Options go into the schema as they are. */
export const Type = {
  Unknown: (): Shape => ({}),
  Null: (options: Options = {}): Shape<null> => ({ type: 'null', ...options }),
  Boolean: (options: Options = {}): Shape<boolean> => ({ type: 'boolean', ...options }),
  Integer: (options: Options<'minimum' | 'maximum'> = {}): Shape<number> => ({
    type: 'integer',
    ...options,
  }),
  String: (options: Options<'minLength' | 'pattern'> = {}): Shape<string> => ({
    type: 'string',
    ...options,
  }),
  Literal: <const T extends string>(value: T, options: Options = {}): Shape<T> => ({
    type: 'string',
    const: value,
    ...options,
  }),

  Array: <S extends Shape>(
    items: S,
    options: Options<'minItems' | 'maxItems'> = {},
  ): Shape<Static<S>[]> => ({ type: 'array', items, ...options }),

  /** Keys that it does not name are ignored, unless `additionalProperties` is false. */
  Object: <P extends Properties>(
    properties: P,
    options: Options<'additionalProperties'> = {},
  ): Shape<Object<P>> => {
    const required = Object.keys(properties).filter((key) => !(OPTIONAL in properties[key]!))
    return {
      type: 'object',
      ...(required.length === 0 ? {} : { required }),
      properties,
      ...options,
    }
  },

  /** A property that may be absent. */
  Optional: <S extends Shape>(shape: S): OptionalShape<Static<S>> =>
    ({ ...shape, [OPTIONAL]: true }) as OptionalShape<Static<S>>,

  /** Any keys, or those that match the pattern of `key`. */
  Record: <S extends Shape>(
    key: Shape<string>,
    value: S,
    options: Options<'additionalProperties'> = {},
  ): Shape<Record<string, Static<S>>> =>
    key.pattern === undefined
      ? { type: 'object', ...options, additionalProperties: value }
      : { type: 'object', patternProperties: { [key.pattern]: value }, ...options },

  Union: <const S extends readonly Shape[]>(
    anyOf: S,
    options: Options = {},
  ): Shape<Static<S[number]>> => ({ anyOf, ...options }),

  /** What the schema says less of than the compiler is to know. */
  Unsafe: <T>(shape: Shape): Shape<T> => shape as Shape<T>,
} as const
