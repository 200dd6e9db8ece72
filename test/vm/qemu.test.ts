/** Which versions of QEMU will do, and how its command line is written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { qemuArguments } from '../../vm/qemu-arguments.ts'

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
