/** Kernel modules in the order to load them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadModules, parseModulesDep } from '../../vm/modules.ts'
import { prepareVm } from '../../vm/prepare.ts'

test('parseModulesDep() reads paths and what they need', () => {
  const table = parseModulesDep(
    'kernel/a.ko.xz:\nkernel/b-c.ko.xz: kernel/d.ko.xz kernel/a.ko.xz\n',
  )
  assert.deepEqual(
    [...table],
    [
      ['kernel/a.ko.xz', []],
      ['kernel/b-c.ko.xz', ['kernel/d.ko.xz', 'kernel/a.ko.xz']],
    ],
  )
})

test('loadModules() unpacks a module after all that it needs, and nothing for what is built in', async () => {
  const { root, modulesDir } = await prepareVm()
  const modules = await loadModules(modulesDir, `${root}/usr/bin/busybox`, ['nvme', '8250-pci'])
  const names = modules.map(({ name }) => name)
  assert.equal(names.at(-1), 'nvme')
  assert.ok(names.includes('nvme_core'))
  for (const { content } of modules) assert.equal(content.toString('latin1', 0, 4), '\u007fELF')
})

test('loadModules() refuses a module that the kernel does not have with ENOENT', async () => {
  const { root, modulesDir } = await prepareVm()
  await assert.rejects(loadModules(modulesDir, `${root}/usr/bin/busybox`, ['no-such']), {
    code: 'ENOENT',
    message: /no module no_such$/,
  })
})
