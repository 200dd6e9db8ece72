/** What a test threw, in so few lines that the end of a long report still holds it: what came, what was expected, and where. */
import { inspect } from 'node:util'

/** Lines of one failure; what is beyond is left out in its middle. */
const MOST_LINES = 40
/** Frames of a stack that are ours. */
const MOST_FRAMES = 4
/** Causes of causes. */
const MOST_CAUSES = 3
const MOST_CHARACTERS = 600

/** `error` as node:test reports it, which wraps what a test threw. */
export function describeFailure(error: unknown): string {
  const thrown = error instanceof Error && error.cause !== undefined ? error.cause : error
  const lines = [...describeOne(thrown)]
  for (
    let depth = 0, cause = causeOf(thrown);
    depth < MOST_CAUSES && cause !== undefined;
    depth++
  ) {
    const [first = '', ...others] = describeOne(cause)
    lines.push(`because of ${first}`, ...others)
    cause = causeOf(cause)
  }
  return cutLines(lines.flatMap((line) => line.split('\n'))).join('\n')
}

/** The first and the last of too many lines. */
export function cutLines(lines: readonly string[], most: number = MOST_LINES): readonly string[] {
  if (lines.length <= most) return lines
  const last = Math.floor(most / 3)
  const first = most - last - 1
  const left = `… ${lines.length - first - last} lines more …`
  return [...lines.slice(0, first), left, ...lines.slice(-last)]
}

function causeOf(thrown: unknown): unknown {
  return thrown instanceof Error ? thrown.cause : undefined
}

function describeOne(thrown: unknown): readonly string[] {
  if (!(thrown instanceof Error)) return [shorten(thrown)]
  const { code } = thrown as NodeJS.ErrnoException
  const isNamed = code === undefined || code === 'ERR_ASSERTION' || thrown.message.startsWith(code)
  const kind = thrown.name === 'Error' || thrown.name === 'AssertionError' ? '' : `${thrown.name}: `
  const message = `${kind}${isNamed ? '' : `${code}: `}${thrown.message.trimEnd()}`
  return [message, ...expectation(thrown), ...frames(thrown)]
}

/** What an assertion with a message of its own does not say. */
function expectation(error: Error): readonly string[] {
  const { generatedMessage, actual, expected, operator } = error as Error & {
    readonly generatedMessage?: boolean
    readonly actual?: unknown
    readonly expected?: unknown
    readonly operator?: string
  }
  if (generatedMessage !== false || operator === undefined) return []
  if (operator === 'fail' || operator === '==') return [] // assert.ok(): `false` says no more
  if (/ !== |^\+ actual - expected/m.test(error.message)) return []
  return [`expected: ${shorten(expected)}`, `came:     ${shorten(actual)}`]
}

/** Where in our sources: neither Node's own frames nor those of packages. */
function frames({ stack = '' }: Error): readonly string[] {
  return stack
    .split('\n')
    .filter((line) => /^ +at /.test(line) && /[/\\]/.test(line))
    .filter((line) => !/\(?node:|node_modules/.test(line))
    .slice(0, MOST_FRAMES)
    .map((line) => line.trim().replace(/file:\/\//, ''))
}

function shorten(value: unknown): string {
  const text = typeof value === 'string' ? value : inspect(value, { depth: 3, breakLength: 120 })
  return text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS)} …`
}
