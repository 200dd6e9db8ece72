/** Arguments for VMMs, to the letter: they are pasted into scripts. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { cloudHypervisorArguments, qemuArguments } from '../../src/host/vmm-arguments.ts'

const SOCKET = '/run/mdevkit/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001/cntrl'

describe('qemuArguments()', () => {
  test('share the memory, from a memfd, and connect to the socket', () => {
    assert.deepEqual(qemuArguments(SOCKET), [
      '-m',
      '1G',
      '-object',
      'memory-backend-memfd,id=mem,size=1G,share=on',
      '-machine',
      'q35,memory-backend=mem',
      '-device',
      `{"driver":"vfio-user-pci","socket":{"type":"unix","path":"${SOCKET}"}}`,
    ])
  })

  test('keep a path whole that has quotes and commas', () => {
    const device = qemuArguments('/tmp/a "b",c=\\d').at(-1)
    assert.equal(
      device,
      String.raw`{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/a \"b\",c=\\d"}}`,
    )
  })
})

describe('cloudHypervisorArguments()', () => {
  test('share the memory and connect to the socket', () => {
    assert.deepEqual(cloudHypervisorArguments(SOCKET), [
      '--memory',
      'size=1G,shared=on',
      '--user-device',
      `socket=${SOCKET}`,
    ])
  })
})
