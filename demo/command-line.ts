/** A long command line, laid out for people, that a shell still reads as the same words. */

const WIDTH = 100
const CONTINUED = ' \\\n  '

/** Breaks `line` before options where it gets too long, each break escaped. Quoted words stay whole. */
export function breakCommandLine(line: string): string {
  const words = line.match(/(?:'[^']*'|\\.|[^\s'\\])+/g) ?? []
  const lines: string[] = []
  for (const option of groupOptions(words)) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + option.length < WIDTH) {
      lines.push(`${lines.pop()} ${option}`)
    } else {
      lines.push(option)
    }
  }
  return lines.join(CONTINUED)
}

/** Joins words to options with their values; what comes before the first option is one too. */
function groupOptions(words: readonly string[]): string[] {
  const groups: string[] = []
  for (const word of words) {
    if (groups.length === 0 || word.startsWith('-')) groups.push(word)
    else groups.push(`${groups.pop()} ${word}`)
  }
  return groups
}
