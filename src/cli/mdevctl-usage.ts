/** Which options of a verb go together, and what clap says where they do not. */
import { UsageError } from './mdevctl-refusal.ts'

/** Options by their long names, without hyphens; positional arguments by theirs. */
export interface UsageRules {
  /** Of each list one at least has to be there. */
  readonly needs?: readonly (readonly string[])[]
  /** Exactly one of these. */
  readonly oneOf?: readonly string[]
  /** What the first requires is the second. */
  readonly requires?: readonly (readonly [string, string])[]
  /** The first goes with none of the others. */
  readonly conflicts?: readonly (readonly [string, readonly string[]])[]
}

/**
 * Checks what was given, in the order of the command line.
 *
 * @param shown an argument as messages show it: `--uuid <UUID>`
 * @throws UsageError
 * @see clap 4, its validator: conflicts come before what is missing, and nobody misses what could not be given
 */
export function checkUsage(
  rules: UsageRules,
  given: readonly string[],
  shown: (name: string) => string,
): void {
  for (const name of given) {
    const [first, ...more] = given.filter((other) => conflict(rules, name, other)).map(shown)
    if (first === undefined) continue
    const others = more.length === 0 ? ` '${first}'` : `: ${[first, ...more].join(' ')}`
    throw new UsageError(`the argument '${shown(name)}' cannot be used with${others}`)
  }
  const missing = missingOf(rules, given, shown)
  if (missing.length > 0)
    throw new UsageError(`the following required arguments were not provided: ${missing.join(' ')}`)
}

function missingOf(
  { needs = [], oneOf = [], requires = [], ...rules }: UsageRules,
  given: readonly string[],
  shown: (name: string) => string,
): readonly string[] {
  const isGiven = (name: string) => given.includes(name)
  const needed = needs.flatMap((names) => (names.some(isGiven) ? [] : names)).map(shown)
  if (oneOf.length > 0 && !oneOf.some(isGiven))
    return [...needed, `<${oneOf.map(shown).join('|')}>`]
  const required = requires.filter(
    ([name, other]) =>
      isGiven(name) &&
      !isGiven(other) &&
      !given.some((each) => conflict({ ...rules, oneOf }, each, other)),
  )
  return [...needed, ...required.map(([, other]) => shown(other))]
}

function conflict({ oneOf = [], conflicts = [] }: UsageRules, a: string, b: string): boolean {
  if (a === b) return false
  if (oneOf.includes(a) && oneOf.includes(b)) return true
  return conflicts.some(
    ([name, others]) => (name === a && others.includes(b)) || (name === b && others.includes(a)),
  )
}
