/** Drivers that are packages: found as a module in the working directory would find them. */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadDriver } from '../../src/host/driver-loader.ts'
import { Mdevkit } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'

const SOURCE = `
  import { defineDriver } from 'mdevkit'
  export default defineDriver({ name: 'foo', types: { 1: {} }, probe: () => ({ reset() {} }) })
`

/** A package in node_modules. @returns the directory beside that */
function install(scratch: Scratch, name: string, source: string, manifest: object = {}): string {
  const at = `node_modules/${name}`
  const exports = { '.': { import: './lib/driver.js' } }
  const text = JSON.stringify({ name, version: '1.0.0', type: 'module', exports, ...manifest })
  scratch.write(`${at}/package.json`, text)
  scratch.write(`${at}/lib/driver.js`, source)
  mkdirSync(join(scratch.path, 'deep/er'), { recursive: true })
  return join(scratch.path, 'deep/er')
}

for (const name of ['mdevkit-driver-foo', '@acme/mdevkit-driver-foo']) {
  test(`mdevkit host takes the package ${name} from above its working directory`, async () => {
    using scratch = new Scratch()
    const cwd = install(scratch, name, SOURCE)
    const root = join(scratch.path, 'root')
    await using host = await Mdevkit.start(['host', name], { root, cwd })
    const [line] = await host.stdout.waitFor(/^.*\n/)
    assert.equal((JSON.parse(line) as { parent: string }).parent, 'foo')
  })
}

for (const [title, source, manifest, message] of [
  ['exports no driver', 'export const nothing = 1', {}, /exports no driver; export one made by/],
  ['throws when imported', "throw new Error('no card')", {}, /cannot be loaded: Error: no card/],
  ['imports what is not there', "import 'mdevkit-not-there'", {}, /cannot be loaded: .*not-there/],
  ['exports nothing at all', SOURCE, { exports: {} }, /cannot be loaded: .*exports/],
  ['exports a file that is missing', SOURCE, { exports: './no.js' }, /cannot be loaded: .*no\.js/],
] as const) {
  test(`mdevkit host says so of a package that ${title}`, async () => {
    using scratch = new Scratch()
    const cwd = install(scratch, 'mdevkit-driver-bad', source, manifest)
    const root = join(scratch.path, 'root')
    await using host = await Mdevkit.start(['host', 'mdevkit-driver-bad'], { root, cwd })
    const { code, stderr } = await host.ended
    assert.notEqual(code, 0)
    assert.match(stderr, /EINVAL: driver mdevkit-driver-bad: /)
    assert.match(stderr, message)
  })
}

test('loadDriver() refuses what is there and no module with EINVAL', async () => {
  for (const name of ['.', 'package.json', 'docs']) {
    const message = `driver ${name}: not a .ts, .mts, .js, .mjs file`
    await assert.rejects(loadDriver(name), { code: 'EINVAL', message })
  }
})

test('loadDriver() refuses a name that is neither shipped nor a package with ENOENT', async () => {
  for (const name of ['mdevkit-driver-none', '@acme/none', '', 'a b']) {
    await assert.rejects(loadDriver(name), {
      code: 'ENOENT',
      message: /not shipped, unlike .*mtty/,
    })
  }
})
