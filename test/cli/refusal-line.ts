/** A refusal as `mdevkit` tells it: one line, and below it one that says what to do next. */
import assert from 'node:assert/strict'

/** The refusal alone, with its newline; the hint has to be there. */
export function refusalLine(stderr: string): string {
  const [, line, hint] = /^([^]*?\n)hint: ([^\n]+)\n$/.exec(stderr) ?? []
  assert.ok(line !== undefined && hint !== undefined, `no hint: ${JSON.stringify(stderr)}`)
  return line
}
