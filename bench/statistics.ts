/** The few statistics that the benchmarks need: medians, because single rounds on a shared machine lie. */

/**
 * The value below which the share `q` (0 to 1) of `values` lies, interpolated between neighbours; NaN of nothing.
 */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return NaN
  const sorted = values.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * q
  const below = Math.floor(position)
  const low = sorted[below]!
  const high = sorted[Math.ceil(position)]!
  return low + (high - low) * (position - below)
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** A middle and how far the rounds lie apart: half of them are between `low` and `high`. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

export function spread(values: readonly number[]): Spread {
  return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75) }
}

/**
 * `values[i] / references[i]`, of the rounds that have both.
 *
 * A ratio within a round cancels the drift of the machine from round to round, which a ratio of medians does not.
 */
export function ratios(
  values: ReadonlyMap<number, number>,
  references: ReadonlyMap<number, number>,
): number[] {
  const result: number[] = []
  for (const [round, value] of values) {
    const reference = references.get(round)
    if (reference !== undefined && reference > 0) result.push(value / reference)
  }
  return result
}

/** `values` starting at `by`: so that in each round another one goes first. */
export function rotate<T>(values: readonly T[], by: number): T[] {
  const start = values.length === 0 ? 0 : by % values.length
  return [...values.slice(start), ...values.slice(0, start)]
}
