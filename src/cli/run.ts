/** `mdevkit run`: one parent and one mdev in the foreground, until Ctrl-C. */
import { inspect } from 'node:util'
import { loadDriver } from '../host/driver-loader.ts'
import { Host } from '../host/host.ts'
import { cloudHypervisorArguments, qemuArguments } from '../host/vmm-arguments.ts'
import { createLogger } from '../lib/log.ts'
import { freshUuid } from '../lib/uuid.ts'
import { shellLine } from '../lib/shell-line.ts'
import { endOfRun } from './end-of-run.ts'
import { StrayFaults } from './stray-faults.ts'

type Settings = NonNullable<Parameters<Host['create']>[2]>
type Mdev = Awaited<ReturnType<Host['create']>>

export interface RunOptions {
  readonly type?: string
  readonly uuid?: string
  readonly set?: Settings
  readonly parentSet?: Settings
  /** Bytes. */
  readonly lockLimit?: number
  readonly mapUnsealed?: boolean
  readonly json?: boolean
  readonly verbose?: boolean
}

/**
 * Runs until SIGINT or SIGTERM; then the mdev is removed and nothing is left behind.
 *
 * @throws what refuses the driver, the type, the UUID or a setting · what the driver's `open` throws
 */
export async function run(specifier: string, options: RunOptions): Promise<void> {
  const log = createLogger(options.verbose === true ? 'debug' : 'info')
  const faults = new StrayFaults(log)
  const ended = endOfRun(undefined, (error) => faults.note(error))
  const driver = await loadDriver(specifier)
  const { lockLimit = Infinity, mapUnsealed = false, parentSet: settings = [] } = options
  const host = await Host.register({ driver, log, settings, lockLimit, mapUnsealed })
  faults.parent = host.parent
  try {
    const typeName = options.type ?? host.parent.types[0]?.name ?? ''
    const uuid = options.uuid ?? freshUuid()
    const mdev = await host.create(typeName, uuid, options.set ?? [])
    process.stdout.write(options.json === true ? asJson(host, mdev) : asText(host, mdev))
    await ended
  } catch (error) {
    log.debug(inspect(error)) // whence it came; what it is is told by who called
    throw error
  } finally {
    host.close(log)
    await host.closed
  }
}

function asJson(host: Host, mdev: Mdev): string {
  const socket = host.socketOf(mdev)
  const report = {
    uuid: mdev.uuid,
    parent: host.parent.name,
    type: mdev.typeName,
    group: mdev.group.number,
    socket,
    qemu: qemuArguments(socket),
    cloudHypervisor: cloudHypervisorArguments(socket),
  }
  return `${JSON.stringify(report)}\n`
}

function asText(host: Host, mdev: Mdev): string {
  const socket = host.socketOf(mdev)
  const { info } = host.parent.types.find(({ name }) => name === mdev.typeName) ?? {}
  const rows = {
    uuid: mdev.uuid,
    parent: host.parent.name,
    type: info?.name === undefined ? mdev.typeName : `${mdev.typeName} (${info.name})`,
    group: String(mdev.group.number),
    socket,
    ...mdev.status(),
  }
  const width = Math.max(...Object.keys(rows).map((name) => name.length))
  return [
    ...Object.entries(rows).map(([name, value]) => `${name.padEnd(width)}  ${value}`),
    '',
    'QEMU 10.1 or later, with a guest of your choice:',
    `  ${shellLine(['qemu-system-x86_64', ...qemuArguments(socket)])}`,
    'Cloud Hypervisor:',
    `  ${shellLine(['cloud-hypervisor', ...cloudHypervisorArguments(socket)])}`,
    '',
    'Serving until Ctrl-C; clients may come and go.',
    '',
  ].join('\n')
}
