/** libvirt as people have it: its schemas take what we print, and it starts the domain that `mdevkit attach` prints. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ControlClient } from '../../src/host/control-client.ts'
import { hostSocket } from '../../src/host/paths.ts'
import { cacheDirectory } from '../../vm/cache.ts'
import { debianRoot } from '../../vm/debian-root.ts'
import { execute } from '../../vm/execute.ts'
import { buildInitramfs } from '../../vm/initramfs.ts'
import { Libvirt } from '../../vm/libvirt.ts'
import { libvirtRoot } from '../../vm/libvirt-root.ts'
import { preparedProgram } from '../../vm/prepared-program.ts'
import { prepareVm, type VmAssets } from '../../vm/prepare.ts'
import { formatMdev } from '../../src/cli/nodedev-xml.ts'
import { Mdevkit, PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
const DOMAIN = `mdevkit-${UUID}`
const onProgress = (line: string): void => void process.stderr.write(`${line}\n`)

const scratch = new Scratch()
const run = join(scratch.path, 'root')
let assets: VmAssets
let root: string
let host: Mdevkit
let control: ControlClient
/** What `mdevkit attach` printed. */
let printed: string

before(async () => {
  assets = await prepareVm({ onProgress })
  root = (await debianRoot(cacheDirectory(), libvirtRoot, { onProgress })).path
  host = await Mdevkit.start(['host', `${PROJECT}examples/scratchpad.ts`, '--name', 'pad'], {
    root: run,
  })
  await host.stdout.waitFor(/\n/)
  control = await ControlClient.connect(hostSocket(run, 'pad'))
  await control.create('scratchpad-1', UUID)
  await using attach = await Mdevkit.start(['attach', UUID, '--vmm', 'libvirt'], { root: run })
  const { code, stdout, stderr } = await attach.ended
  assert.equal(code, 0, stderr)
  // what would run by KVM is emulated here: a machine that is virtual itself may boot nothing by it
  printed = stdout.replace('<domain type="kvm"', '<domain type="qemu"')
})
after(async () => {
  control?.close()
  await host?.stop()
  scratch[Symbol.dispose]()
})

/** @throws what the schema, one of libvirt's own, does not take */
async function validate(schema: string, xml: string): Promise<void> {
  const [program, ...args] = preparedProgram(root, 'usr/bin/xmllint')
  const rng = join(root, 'usr/share/libvirt/schemas', schema)
  await execute(program, [...args, '--noout', '--relaxng', rng, scratch.write('x.xml', xml)])
}

describe('a schema of libvirt', () => {
  test('takes the XML of an mdev, active or defined', async () => {
    const parent = { ...control.parent, pid: control.pid }
    const definition = { type: 'scratchpad-1', start: 'auto', attributes: [['a', '<&>']] } as const
    const mdev = { parent: 'pad', uuid: UUID, definition }
    await validate('nodedev.rng', formatMdev(mdev, parent, '/sys'))
    const [active] = control.parent.mdevs
    await validate('nodedev.rng', formatMdev({ ...mdev, active: active! }, parent, '/sys'))
  })

  test('takes the domain that attach prints', async () => {
    await validate('domain.rng', printed)
    await assert.rejects(validate('domain.rng', printed.replace('memoryBacking', 'memoryFronting')))
  })
})

describe('libvirt', () => {
  let libvirt: Libvirt
  before(async () => {
    const own = join(scratch.path, 'libvirt')
    mkdirSync(own)
    libvirt = await Libvirt.start({ root, scratch: own, visible: [scratch.path, assets.root] })
  })
  after(async () => libvirt?.[Symbol.asyncDispose]())

  /** Resolves when the domain is in a state. */
  async function domainIs(state: string): Promise<void> {
    await until(
      async () => assert.equal((await libvirt.virsh('domstate', DOMAIN)).trim(), state),
      undefined,
      { pauseMs: 100 },
    )
  }

  test('defines and starts the domain as it is printed, whose QEMU then has the mdev', async () => {
    await libvirt.virsh('define', scratch.write('domain.xml', printed))
    await libvirt.virsh('start', DOMAIN)
    await domainIs('running')
    await until(() => assert.match(control.parent.mdevs[0]?.client ?? '', /qemu/))
    await libvirt.virsh('destroy', DOMAIN)
    await domainIs('shut off')
    await libvirt.virsh('undefine', DOMAIN)
  })

  test('boots a guest in such a domain, which finds the card', async () => {
    const initramfs = join(scratch.path, 'initramfs')
    const init = 'lspci -n -d 1b36:be11; poweroff -f'
    writeFileSync(initramfs, await buildInitramfs({ assets, init }))
    const log = join(scratch.path, 'console')
    const booting = printed
      .replace(
        '</os>',
        `<kernel>${assets.kernel}</kernel><initrd>${initramfs}</initrd>` +
          '<cmdline>console=ttyS0 quiet mitigations=off</cmdline></os>',
      )
      .replace(
        '<qemu:commandline>',
        `<devices><serial type='file'><source path='${log}'/></serial></devices>$&`,
      )
    await validate('domain.rng', booting)
    await libvirt.virsh('create', scratch.write('booting.xml', booting))
    const running = async () => (await libvirt.virsh('list', '--name')).trim()
    await until(async () => assert.equal(await running(), ''), undefined, { pauseMs: 100 })
    assert.match(readFileSync(log, 'latin1'), /ff00: 1b36:be11/)
  })
})
