/**
 * What the documents show is real: a fenced `ts` block is the content, or a part, of the file that the comment above it
 * names, so it is compiled, linted and run with that file; links lead somewhere.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '../..')
const DOCUMENTS = ['README.md', 'CHANGELOG.md', ...markdownBelow('docs')]
const BLOCK = /(?:<!-- file: (\S+) -->\n\n)?```ts\n([\s\S]*?)```/g

for (const document of DOCUMENTS) {
  const text = readFileSync(join(ROOT, document), 'utf8')

  test(`${document} shows only code that stands in a file`, () => {
    for (const [, file, code = ''] of text.matchAll(BLOCK)) {
      assert.ok(file !== undefined, `no <!-- file: … --> comment above this block:\n${code}`)
      const source = readFileSync(join(ROOT, file), 'utf8')
      assert.ok(
        squeezed(source).includes(squeezed(code)),
        `${file} does not contain this block:\n${code}`,
      )
    }
  })

  test(`${document} links only to files that exist`, () => {
    for (const [, target = ''] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      assert.ok(existsSync(join(ROOT, dirname(document), target)), `dead link: ${target}`)
    }
  })
}

test('README.md shows the whole of examples/scratchpad.ts', () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const example = readFileSync(join(ROOT, 'examples/scratchpad.ts'), 'utf8')
  assert.ok(readme.includes(`\`\`\`ts\n${example}\`\`\``))
})

/** Blocks may be indented less than in their file. */
function squeezed(code: string): string {
  return code
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join('\n')
}

function markdownBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
}
