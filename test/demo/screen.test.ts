/** What is shown, with colour and without. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { Screen } from '../../demo/screen.ts'

function shown(colour: boolean): string {
  let text = ''
  const screen = new Screen({ colour, write: (more) => void (text += more) })
  screen.step('First')
  screen.show('a\n\nb', 'dim')
  screen.step('Second')
  screen.said('port 0', '>', 'ls\x1b[2J')
  screen.said('port 0', '<', '\xff')
  return text
}

test('Screen numbers steps, indents what is below, and shows bytes that a terminal would act upon', () => {
  assert.equal(
    shown(false),
    '\n1. First\n   a\n\n   b\n\n2. Second\n   port 0 > ls\\x1b[2J\n   port 0 < \\xff\n',
  )
})

test('Screen colours whole lines or words, and resets after each', () => {
  const text = shown(true)
  assert.ok(
    text.startsWith('\n\x1b[1m1. First\x1b[0m\n   \x1b[2ma\x1b[0m\n\n   \x1b[2mb\x1b[0m\n'),
    text,
  )
  assert.equal(stripVTControlCharacters(text), shown(false))
})
