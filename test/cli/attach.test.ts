/** `mdevkit attach`: what is printed, to the letter, and what it refuses. test/vm/attach.test.ts pastes it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { libvirtDomain } from '../../src/cli/libvirt-domain.ts'
import { cloudHypervisorArguments, qemuArguments } from '../../src/host/vmm-arguments.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Daemon } from '../daemon/support.ts'
import { Api } from '../http/support.ts'
import { driverOf } from '../mdev/support.ts'
import { cli } from './cli.ts'
import { machineWith, startParents } from './mdevctl-machine.ts'
import { refusalLine } from './refusal-line.ts'

const UUID = '00000001-0000-4000-8000-000000000001'
const OTHER = '00000002-0000-4000-8000-000000000002'
const GROUP = '0000000a-0000-4000-8000-00000000000a'

describe('attach', () => {
  test('prints one line for QEMU or Cloud Hypervisor, and a domain for libvirt, without a daemon too', async () => {
    using daemon = await machineWith(['mdpy'])
    const { root, machine } = daemon
    const { socket = '' } = await machine.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
    const told = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await cli(['attach', ...args], { root })
      assert.deepEqual([code, stderr], [0, ''])
      return stdout
    }
    const device = `'{"driver":"vfio-user-pci","socket":{"type":"unix","path":"${socket}"}}'`
    assert.equal(
      await told(UUID.replaceAll('-', '')),
      'qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on ' +
        `-machine q35,memory-backend=mem -device ${device}\n`,
    )
    assert.equal(
      await told('--vmm', 'cloud-hypervisor', '--memory', '512M', UUID),
      `cloud-hypervisor --memory size=512M,shared=on --user-device socket=${socket}\n`,
    )
    const domain = await told('--vmm=libvirt', UUID)
    const type = /^<domain type="(kvm|qemu)"/.exec(domain)?.[1] as 'kvm' | 'qemu'
    const name = `mdevkit-${UUID}`
    assert.equal(domain, libvirtDomain({ name, memory: '1G', type, sockets: [socket] }))
    assert.deepEqual(JSON.parse(await told('--json', UUID)), {
      vmm: 'qemu',
      uuids: [UUID],
      sockets: [socket],
      program: 'qemu-system-x86_64',
      arguments: qemuArguments(socket),
    })
  })

  test('gives several mdevs to one machine', async () => {
    using daemon = await machineWith(['mdpy'])
    const { root, machine } = daemon
    const sockets: string[] = []
    for (const uuid of [UUID, OTHER]) {
      const { socket = '' } = await machine.start({ uuid, parent: 'mdpy', type: 'mdpy-vga' })
      sockets.push(socket)
    }
    const { stdout } = await cli(['attach', OTHER, UUID, '--json'], { root })
    const { arguments: given } = JSON.parse(stdout) as { arguments: readonly string[] }
    assert.deepEqual(given, qemuArguments(sockets.toReversed()))
    assert.equal(given.filter((word) => word === '-device').length, 2)
    assert.deepEqual(cloudHypervisorArguments(sockets).slice(-3), [
      '--user-device',
      `socket=${sockets[0]}`,
      `socket=${sockets[1]}`,
    ])
  })

  test('tells of the others of a group, and refuses where another machine has one', async () => {
    using daemon = new Daemon()
    await daemon.host(driverOf({ name: 'peer', types: { 1: { peerToPeer: true } } }), 'peer')
    const { root, machine } = daemon
    const joined = { parent: 'peer', type: 'peer-1', attributes: [['group', GROUP]] } as const
    const { socket = '' } = await machine.start({ uuid: UUID, ...joined })
    await machine.start({ uuid: OTHER, ...joined })
    const one = await cli(['attach', UUID], { root })
    const line = `mdevkit attach: the group has other mdevs, for this machine alone: ${OTHER}\n`
    assert.deepEqual([one.code, one.stderr], [0, line])
    const both = await cli(['attach', UUID, OTHER], { root })
    assert.deepEqual([both.code, both.stderr], [0, ''])
    const client = await Client.attach(socket)
    const { code, stdout, stderr } = await cli(['attach', OTHER], { root })
    const refusal = new RegExp(`EBUSY: group \\d+: pid ${process.pid} .* has mdev ${UUID} of it, `)
    assert.match(refusalLine(stderr), refusal)
    assert.deepEqual([code, stdout], [6, ''])
    client.detach()
  })

  test('refuses what is no mdev that a machine could have', async () => {
    await using api = await Api.start()
    const { daemon, client } = api
    const root = daemon.scratch.path
    await startParents(daemon, ['mdpy'])
    const definition = { type: 'mdpy-vga', start: 'manual', attributes: [] } as const
    await client.define({ uuid: OTHER, parent: 'mdpy' }, definition)
    for (const [args, says, exitCode] of [
      [['nonsense'], /: EINVAL: "nonsense" is no uuid: /, 1],
      [[UUID], /: ENOENT: mdev 00000001-\S+: neither active nor defined\n$/, 3],
      [[OTHER], /: ENOENT: mdev 00000002-\S+: defined, and not active; start it with: /, 3],
      [[UUID, UUID], /: EEXIST: mdev \S+: is named twice/, 4],
      [[UUID, '--vmm', 'xen'], /Allowed choices are qemu, cloud-hypervisor, libvirt/, 2],
      [[UUID, '--memory', 'lots'], /expected a whole number with M or G/, 2],
      [[], /missing required argument 'uuid'/, 2],
    ] as const) {
      const { code, stdout, stderr } = await cli(['attach', ...args], { root })
      assert.match(refusalLine(stderr), says)
      assert.deepEqual([code, stdout], [exitCode, ''])
    }
  })
})

test('libvirtDomain() is XML whatever the path, its arguments as QEMU gets them', () => {
  const path = `/tmp/<a>&'"b`
  const domain = libvirtDomain({ name: 'vm', memory: '512M', type: 'qemu', sockets: [path] })
  assert.equal(XMLValidator.validate(domain), true)
  const parser = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '' })
  const parsed = parser.parse(domain) as {
    domain: {
      memory: unknown
      'qemu:commandline': { 'qemu:arg': readonly { value: string }[] }
    }
  }
  const [option, device] = parsed.domain['qemu:commandline']['qemu:arg']
  assert.equal(option?.value, '-device')
  assert.deepEqual(JSON.parse(device?.value ?? ''), {
    driver: 'vfio-user-pci',
    socket: { type: 'unix', path },
  })
  assert.deepEqual(parsed.domain.memory, { unit: 'MiB', '#text': 512 })
})
