/** The package as npm makes it: what is in it, that its types resolve, and that it runs. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Mdevkit, PROJECT } from './support/mdevkit.ts'
import { Scratch } from './support/scratch.ts'

const DRIVER = `import { defineDriver, ErrnoError, type Registers } from 'mdevkit'
import { Client, REGION } from 'mdevkit/client'
const registers: Registers = { read: () => 7, write() {} }
export const card = defineDriver({
  name: 'card',
  types: { 1: { name: 'Card' } },
  probe(mdev) {
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    pci.bar(0, { kind: 'mem32', size: 16 }, registers)
    return { reset() {} }
  },
})
export async function first(socket: string): Promise<number> {
  using client = await Client.attach(socket)
  const ready = await client.region(REGION.bar0).readU32(0)
  if (ready === 0) throw new ErrnoError('ENODEV', 'no card')
  return client.config.readU16(0)
}
`

describe('The package', () => {
  let scratch: Scratch
  let files: readonly string[]
  before(() => {
    scratch = new Scratch()
    const options = ['--json', '--ignore-scripts', '--pack-destination', scratch.path]
    const report = execFileSync('npm', ['pack', ...options], { cwd: PROJECT, encoding: 'utf8' })
    const [packed] = JSON.parse(report) as { filename: string; files: { path: string }[] }[]
    assert.ok(packed)
    files = packed.files.map(({ path }) => path)
    const place = join(scratch.path, 'node_modules/mdevkit')
    mkdirSync(place, { recursive: true })
    const archive = join(scratch.path, packed.filename)
    execFileSync('tar', ['-xzf', archive, '-C', place, '--strip-components=1'])
  })
  after(() => scratch[Symbol.dispose]())

  test('has the program, the SDK, shipped drivers, examples and documents, and nothing of our own', () => {
    for (const needed of [
      'bin/mdevkit.js',
      'dist/src/index.js',
      'dist/src/index.d.ts',
      'dist/src/vfio-user/client.d.ts',
      'dist/drivers/nvme/nvme.js',
      'examples/scratchpad.ts',
      'docs/writing-a-driver.md',
      'man/mdevkit.1',
      'systemd/mdevkit.service',
      'LICENSE',
    ]) {
      assert.ok(files.includes(needed), needed)
    }
    const ours =
      /\.map$|\.tsbuildinfo$|^(src|test|bench|scripts|vm|demo)\/|^dist\/(?!src\/|drivers\/)/
    assert.deepEqual(
      files.filter((each) => ours.test(each)),
      [],
    )
  })

  test('has every file that its README and its documents link to', () => {
    const links = files
      .filter((each) => each.endsWith('.md') && each !== 'CHANGELOG.md')
      .flatMap((each) => {
        const text = readFileSync(join(PROJECT, each), 'utf8').replaceAll(/```[^]*?```/g, '')
        return [...text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)]
          .map(([, to = '']) => new URL(to, `file:///${each}`))
          .filter(({ protocol }) => protocol === 'file:')
          .map(({ pathname }) => ({ from: each, to: pathname.slice(1) }))
      })
    assert.ok(links.length > 20)
    const isThere = (to: string) => files.some((each) => each === to || each.startsWith(to))
    assert.deepEqual(
      links.filter(({ to }) => !isThere(to)),
      [],
    )
  })

  for (const [module, moduleResolution] of [
    ['node16', 'node16'],
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ] as const) {
    test(`has types that resolve by ${moduleResolution}, without those of Node too`, () => {
      scratch.write('package.json', '{ "type": "module" }')
      scratch.write('card.ts', DRIVER)
      const tsc = join(PROJECT, 'node_modules/typescript/bin/tsc')
      const options = ['--strict', '--target', 'es2022', '--types', '', '--ignoreConfig']
      const how = ['--module', module, '--moduleResolution', moduleResolution]
      const { stdout, status } = spawnSync(
        process.execPath,
        [tsc, '--noEmit', ...options, ...how, 'card.ts'],
        { cwd: scratch.path, encoding: 'utf8' },
      )
      assert.equal(stdout, '')
      assert.equal(status, 0)
    })
  }

  test('runs an example that it has', async () => {
    const modules = join(PROJECT, 'node_modules')
    for (const name of readdirSync(modules).filter((each) => !each.startsWith('.')))
      symlinkSync(join(modules, name), join(scratch.path, 'node_modules', name))
    const installed = join(scratch.path, 'node_modules/mdevkit')
    await using run = await Mdevkit.start(['run', join(installed, 'examples/scratchpad.ts')], {
      root: join(scratch.path, 'root'),
      program: join(installed, 'bin/mdevkit.js'),
    })
    await run.stdout.waitFor(/^type +scratchpad-1 /m)
    assert.equal((await run.stop()).code, 0)
  })
})
