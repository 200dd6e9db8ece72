/**
 * The DMA engine of the examples, driven by programs in a guest that know what memory should look like: `programs/`. Without an
 * IOMMU the guest's memory is mapped once, with one it comes and goes by the page.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { dmaEngine } from '../../examples/dma-engine.ts'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { createLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import type { ServerStats } from '../../src/vfio-user/served-client.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm, type VmAssets } from '../../vm/prepare.ts'
import type { Machine } from '../../vm/qemu-arguments.ts'
import { SHELL_READY, shellInit } from '../../vm/shell.ts'
import { compileC } from '../support/cc.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'

const SLOT = '0000:00:01.0'
const DEVICE = `/sys/bus/pci/devices/${SLOT}`
/** Each is 32 jobs on physical memory; behind an IOMMU 20, of which 3 must fail, and 5 maps of one to four pages. */
const ROUNDS = 40

const scratch = new Scratch()
let assets: VmAssets

before(async () => {
  assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
})
after(() => scratch[Symbol.dispose]())

/** A guest with an engine, and with a program that drives it. */
class Stage implements AsyncDisposable {
  readonly host: Host
  readonly mdev: MdevDevice
  readonly guest: Guest
  /** What was logged, from debug on. */
  readonly lines: readonly string[]

  private constructor(host: Host, mdev: MdevDevice, guest: Guest, lines: readonly string[]) {
    this.host = host
    this.mdev = mdev
    this.guest = guest
    this.lines = lines
  }

  /** @param name of a program, without `.c` */
  static async boot(
    name: string,
    machine: Machine & { readonly modules?: readonly string[] },
  ): Promise<Stage> {
    const program = `${scratch.path}/${name}`
    compileC(`${PROJECT}test/vm/programs/${name}.c`, program, ['-O2', '-Wall', '-static'])
    const lines: string[] = []
    const log = createLogger('debug', (line) => lines.push(line))
    const host = new Host({ driver: dmaEngine, log, root: scratch.path })
    try {
      const mdev = await host.create('dma-engine-1', freshUuid())
      const guest = await bootGuest({
        assets,
        init: shellInit,
        files: [{ path: `/bin/${name}`, mode: 0o755, content: readFileSync(program) }],
        devices: ['-device', vfioUserDevice(host.socketOf(mdev))],
        ...machine,
      })
      return new Stage(host, mdev, guest, lines)
    } catch (error) {
      host.close()
      throw error
    }
  }

  /** Runs a command in the guest that is to succeed. @returns what it printed */
  async run(command: string): Promise<string> {
    const { output, status } = await this.guest.run(command)
    assert.equal(status, 0, output)
    return output
  }

  /** What the host said of requests that it refused. */
  get refused(): string[] {
    return this.lines.filter((line) => line.startsWith('debug'))
  }

  get stats(): ServerStats {
    return this.host.statsOf(this.mdev).server!
  }

  /** Ends the guest. @returns what QEMU complained of */
  async end(): Promise<string> {
    const detached = once(this.host.events, 'detach')
    await this.guest.qmp('quit')
    const { code, stderr } = await this.guest.exited
    assert.equal(code, 0, stderr)
    await detached
    return stderr
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest.stop()
    this.host.close()
  }
}

/** What this process holds of guests' memory. */
function guestMemory(): string[] {
  const { fds, shared } = resourcesOf()
  return [...fds, ...shared].filter((path) => path.startsWith('/memfd:'))
}

test('a program has the DMA engine work on physical memory, resets it meanwhile, and finds every byte right', async () => {
  await using stage = await Stage.boot('physical-dma', {})
  assert.equal(
    await stage.run(`physical-dma ${DEVICE} ${ROUNDS}`),
    `${ROUNDS * 32} jobs, 5 faults\n`,
  )
  assert.notDeepEqual(guestMemory(), [])
  assert.equal(await stage.end(), '')
  assert.deepEqual(stage.refused, [])
  assert.deepEqual(guestMemory(), [])
})

describe('behind an IOMMU', () => {
  let stage: Stage

  before(async () => {
    const modules = ['vfio-pci', 'vfio_iommu_type1']
    stage = await Stage.boot('vfio-dma', { iommu: true, cpus: 2, modules })
    await bind()
  })
  after(async () => stage?.[Symbol.asyncDispose]())

  /** Gives the device to vfio-pci. */
  async function bind(): Promise<void> {
    await stage.run(`
      echo vfio-pci >${DEVICE}/driver_override
      echo ${SLOT} >/sys/bus/pci/drivers_probe`)
  }

  test('a program has the DMA engine work while it maps and unmaps pages, and finds every byte right', async () => {
    const before = { ...stage.stats }
    const output = await stage.run(`vfio-dma ${DEVICE} ${ROUNDS}`)
    const counts = /^(\d+) jobs, (\d+) faults, (\d+) pages mapped, (\d+) unmapped\n$/.exec(output)
    const [jobs, faults, mapped, unmapped] = counts?.slice(1).map(Number) ?? []
    assert.deepEqual([jobs, faults], [ROUNDS * 17, ROUNDS * 3])
    assert.equal(mapped, unmapped)
    assert.ok(mapped! > 1000, output)
    // QEMU maps what the guest's tables say, page by page
    assert.ok(stage.stats.dmaMaps - before.dmaMaps >= mapped!)
  })

  test('what a program leaves mapped is gone with it: the next one has other pages at the same places', async () => {
    assert.equal(await stage.run(`vfio-dma ${DEVICE} 1 leave`), 'leave\n')
    assert.match(await stage.run(`vfio-dma ${DEVICE} 2`), /^34 jobs, 6 faults, /)
  })

  test('what is mapped when the guest reboots is gone, and the engine works on in the next boot', async () => {
    await stage.run(`vfio-dma ${DEVICE} 1 stay >/tmp/out & until [ -s /tmp/out ]; do :; done`)
    stage.guest.send('reboot -f\n')
    await stage.guest.waitFor(SHELL_READY)
    await bind()
    assert.match(await stage.run(`vfio-dma ${DEVICE} 2`), /^34 jobs, 6 faults, /)
  })

  test('nothing was refused meanwhile, and nothing is left', async () => {
    const complaints = await stage.end()
    assert.deepEqual(stage.refused, [])
    assert.equal(complaints, '')
    assert.deepEqual(guestMemory(), [])
  })
})
