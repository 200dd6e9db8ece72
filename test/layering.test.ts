/** The rules about who may import whom, and about what may not stand in the repository at all. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { projectRoot } from '../scripts/test-runner.ts'
import { importsOf } from './support/imports.ts'
import { layeringFaults } from './support/layers.ts'

const ROOT = projectRoot()

/** Files that git tracks or would: path from the root to text, bytes as latin1. */
function projectFiles(): Map<string, string> {
  const list = execFileSync('git', ['ls-files', '-coz', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  const paths = list.split('\0').filter((path) => path !== '' && isFile(join(ROOT, path)))
  return new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), 'latin1')]))
}

/** A tracked file may have been deleted, and a link may lead nowhere. */
function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile()
}

const files = projectFiles()
const sources = new Map([...files].filter(([path]) => /\.[cm]?[jt]s$/.test(path)))

describe('layering', () => {
  test('every import goes down the list of layers', () => {
    assert.ok(sources.has('src/index.ts'), 'src/index.ts: not among the files of the project')
    const faults = layeringFaults(sources)
    assert.deepEqual(faults, [], faults.join('\n'))
  })

  /** File, its text, and the sentence expected; undefined where nothing is wrong. */
  const CASES: readonly (readonly [string, string, string | undefined])[] = [
    ['src/os/a.ts', `import { x } from '../lib/b.ts'`, undefined],
    ['src/os/a.ts', `import { x } from './b.ts'\nimport koffi from 'koffi'`, undefined],
    ['src/os/a.ts', `import { readFileSync } from 'node:fs'`, undefined],
    ['src/cli/a.ts', `import { Command } from 'commander'`, undefined],
    ['src/index.ts', `export type { X } from './mdev/x.ts'`, undefined],
    ['vm/a.ts', `import { x } from '../src/os/x.ts'`, undefined],
    ['drivers/a/a.ts', `import { x } from 'mdevkit'\nimport { y } from './y/z.ts'`, undefined],
    ['examples/a.ts', `import { x } from 'mdevkit/client'`, undefined],
    [
      'drivers/a/a.ts',
      `import { x } from 'mdevkit/client'`,
      'drivers/a/a.ts imports mdevkit/client: drivers may use mdevkit by that name, node and files of drivers/a/',
    ],
    ['examples/a.ts', `import { x } from './b.ts'\nimport 'node:fs'`, undefined],
    [
      'src/lib/a.ts',
      `import { x } from '../os/b.ts'`,
      'src/lib/a.ts imports ../os/b.ts: lib may not use os',
    ],
    [
      'src/lib/a/b.ts',
      `export * from '../../abi/b.ts'`,
      'src/lib/a/b.ts imports ../../abi/b.ts: lib may not use abi',
    ],
    [
      'src/mdev/a.ts',
      `import type { X } from '../os/b.ts'`,
      'src/mdev/a.ts imports ../os/b.ts: mdev may not use os',
    ],
    [
      'src/mdev/a.ts',
      `type X = import('../vfio-user/b.ts').X`,
      'src/mdev/a.ts imports ../vfio-user/b.ts: mdev may not use vfio-user',
    ],
    [
      'src/daemon/a.ts',
      `await import('../vfio-user/b.ts')`,
      'src/daemon/a.ts imports ../vfio-user/b.ts: daemon may not use vfio-user',
    ],
    [
      'src/http/a.ts',
      `import '../daemon/b.ts'`,
      'src/http/a.ts imports ../daemon/b.ts: http may not use daemon',
    ],
    [
      'src/index.ts',
      `export { x } from './vfio-user/x.ts'`,
      'src/index.ts imports ./vfio-user/x.ts: index.ts may not use vfio-user',
    ],
    [
      'src/os/a.ts',
      `import { x } from '../index.ts'`,
      'src/os/a.ts imports ../index.ts: import from the file that defines a thing',
    ],
    [
      'src/os/a.ts',
      `import { x } from '../../test/b.ts'`,
      'src/os/a.ts imports ../../test/b.ts: src may not use test',
    ],
    ['src/lib/a.ts', `import koffi from 'koffi'`, 'src/lib/a.ts imports koffi: only os may'],
    [
      'src/host/a.ts',
      `import { x } from 'mdevkit'`,
      'src/host/a.ts imports mdevkit: src may not use its own name',
    ],
    ['src/misc/a.ts', '', 'src/misc/a.ts: misc is no layer of the design'],
    ['src/lib/a.ts', 'export default 1', 'src/lib/a.ts has a default export: export by name'],
    [
      'src/lib/a.ts',
      'const a = 1\nexport { a as default }',
      'src/lib/a.ts has a default export: export by name',
    ],
    [
      'drivers/a/a.ts',
      `import { x } from '../../src/lib/x.ts'`,
      'drivers/a/a.ts imports ../../src/lib/x.ts: drivers may use mdevkit by that name, node and files of drivers/a/',
    ],
    [
      'drivers/a/a.ts',
      `import { x } from '../b/x.ts'`,
      'drivers/a/a.ts imports ../b/x.ts: drivers may use mdevkit by that name, node and files of drivers/a/',
    ],
    [
      'examples/a.ts',
      `import koffi from 'koffi'`,
      'examples/a.ts imports koffi: examples may use mdevkit by that name, node and files of examples/',
    ],
  ]

  for (const [file, text, expected] of CASES) {
    test(`layeringFaults() ${expected === undefined ? 'allows' : 'refuses'} ${file}: ${text}`, () => {
      const faults = layeringFaults(new Map([[file, text]]))
      assert.deepEqual(faults, expected === undefined ? [] : [expected])
    })
  }
})

describe('importsOf()', () => {
  test('finds every form, over several lines and with types', () => {
    const source = [
      `import a from 'a'`,
      `import {\n  b,\n  type B,\n} from "b"`,
      `import * as c from 'c'; import d, { e } from 'd'`,
      `import type { F } from 'f'`,
      `export { g } from 'g'`,
      `export * as h from 'h'`,
      `import 'i'`,
      'const j = await import(`j`)',
      `const k: import('k').K = require('k2')`,
    ].join('\n')
    const found = importsOf(source).specifiers.toSorted()
    assert.deepEqual(found, ['a', 'b', 'c', 'd', 'f', 'g', 'h', 'i', 'j', 'k', 'k2'])
  })

  test('finds none in comments, strings, templates and regular expressions', () => {
    const source = [
      `// import 'a'`,
      `/* export * from 'b'`,
      ` * import('c') */`,
      `const d = "import 'd'" + 'it\\'s from "e"'`,
      'const f = `import "f" ${g(`import("h")`)} export * from "i"`',
      `const j = /'/.test(k) || /[/'"]import "l"/.test(m)`,
      `const half = n / 2 // it's`,
      `import 'found'`,
    ].join('\n')
    assert.deepEqual(importsOf(source).specifiers, ['found'])
  })

  test('takes neither an export nor a property named from or default for an import', () => {
    const source = `export const x = { default: 1 }\nArray.from('a')\nexport function from() { f('b') }`
    assert.deepEqual(importsOf(source), { specifiers: [], exportsDefault: false })
  })
})

describe('repository', () => {
  // written so that this file does not match itself
  const machinePath = new RegExp(String.raw`(?<![\w.~$}*-])/(?:${['work', 'farm'].join('|')})/`)
  const hostNames = [
    ['registry', String.raw`[\w-]+\.(?:org|com|io|net)`],
    [
      String.raw`(?:deb|ftp[.\w]*|security|snapshot|archive|ports)`,
      String.raw`(?:debian|ubuntu)\.(?:org|com)`,
    ],
    ['proxy', String.raw`golang\.org`],
    [String.raw`(?:files\.)?`, 'pypi', 'org'],
  ].map((parts) => parts.join(String.raw`\.`))
  const hostName = new RegExp(String.raw`\b(?:${hostNames.join('|')})\b`)

  function linesMatching(pattern: RegExp): string[] {
    return [...files].flatMap(([path, text]) =>
      text
        .split('\n')
        .map((line, index) => ({ line, at: `${path}:${index + 1}` }))
        .filter(({ line }) => pattern.test(line))
        .map(({ line, at }) => `${at}: ${line.trim()}`),
    )
  }

  test('no file names a directory of the machine it was written on', () => {
    const found = linesMatching(machinePath)
    assert.deepEqual(found, [], found.join('\n'))
  })

  test('no file names the host of a registry or mirror', () => {
    const found = linesMatching(hostName)
    assert.deepEqual(found, [], found.join('\n'))
  })

  test('the patterns of these two tests match what they should', () => {
    const [work, farm] = ['work', 'farm']
    for (const line of [`'/${work}/main'`, `/${farm}/x`, `cd /${work}/`]) {
      assert.match(line, machinePath)
    }
    for (const line of [`/home/${work}/main`, `../${work}/x`, `a/${farm}/b`]) {
      assert.doesNotMatch(line, machinePath)
    }
    for (const host of [
      ['registry', 'npmjs', 'org'],
      ['deb', 'debian', 'org'],
      ['archive', 'ubuntu', 'com'],
      ['proxy', 'golang', 'org'],
    ]) {
      assert.match(`https://${host.join('.')}/x`, hostName)
    }
  })

  test('package-lock.json says nothing of where packages came from', () => {
    const lock = files.get('package-lock.json')
    assert.ok(lock !== undefined, 'package-lock.json: missing')
    assert.doesNotMatch(lock, /"resolved": "http/)
  })
})
