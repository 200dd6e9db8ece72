/** Which versions of QEMU will do, and how its command line is written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { qemuArguments } from '../../vm/qemu-arguments.ts'
import { parseQemuVersion, recentEnough } from '../../vm/qemu.ts'

test('parseQemuVersion() reads the first line of --version', () => {
  const debian = 'QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright (c) …\n'
  assert.equal(parseQemuVersion(debian), '11.1.3')
  assert.equal(parseQemuVersion('QEMU emulator version 10.1\n'), '10.1')
  assert.equal(parseQemuVersion('QEMU emulator version 10.0.92 (v10.1.0-rc2)'), '10.0.92')
  assert.equal(parseQemuVersion('bash: qemu: command not found'), undefined)
})

test('recentEnough() starts at 10.1, for QEMU and for its Debian package', () => {
  for (const version of [
    '10.1',
    '10.1.0',
    '10.2.3',
    '11.0.0',
    '1:11.1.3+ds-1~bpo13+1',
    '1:10.1.0~rc3',
  ]) {
    assert.ok(recentEnough(version), version)
  }
  for (const version of ['9.2.4', '10.0.13', '1:10.0.13+ds-0+deb13u1', '7.2.0', '', 'x']) {
    assert.ok(!recentEnough(version), version)
  }
})

test('qemuArguments() shares the memory and puts devices last', () => {
  const files = { kernel: '/k', initramfs: '/i', qmp: '/q' }
  const shared = qemuArguments(files, {
    memoryMiB: 128,
    devices: [
      ['-device', 'a'],
      ['-device', 'b'],
    ],
  })
  assert.ok(shared.includes('memory-backend-memfd,id=mem,size=128M,share=on'))
  assert.ok(shared.includes('q35,memory-backend=mem'))
  assert.deepEqual(shared.slice(-4), ['-device', 'a', '-device', 'b'])
  const own = qemuArguments(files, { sharedMemory: false, machine: 'pc', devices: ['-S'] })
  assert.equal(own[own.indexOf('-machine') + 1], 'pc')
  assert.equal(own.at(-1), '-S')
})

test('qemuArguments() puts an IOMMU before the devices that are behind it, and tells the kernel', () => {
  const files = { kernel: '/k', initramfs: '/i', qmp: '/q' }
  const argv = qemuArguments(files, {
    iommu: true,
    devices: ['-device', 'a'],
    extraKernelArgs: ['b'],
  })
  assert.match(argv.join(' '), /-device intel-iommu,\S*caching-mode=on -device a$/)
  assert.match(argv[argv.indexOf('-append') + 1]!, / intel_iommu=on b$/)
  assert.doesNotMatch(qemuArguments(files, {}).join(' '), /iommu/)
})
