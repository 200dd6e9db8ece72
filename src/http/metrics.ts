/** The machine in numbers, for Prometheus: counted when they are asked for, and requests as they are answered. */
import { Counter, Gauge, Registry } from 'prom-client'
import type { ControlPlane } from '../mdev/control-plane.ts'

export interface MetricsOptions {
  readonly plane: ControlPlane
  readonly version: string
  /** How many event streams are open. */
  readonly streams: () => number
}

export class Metrics {
  readonly contentType: string
  readonly #options: MetricsOptions
  readonly #registry = new Registry()
  readonly #gauges = {
    build: this.#gauge('mdevkit_build_info', 'Always 1; the version is a label.', ['version']),
    parents: this.#gauge('mdevkit_parents', 'Parents whose hosts are there.'),
    missing: this.#gauge('mdevkit_parents_waiting', 'Parents whose hosts should be there.'),
    unregistered: this.#gauge('mdevkit_parents_unregistered', 'Parents that were unregistered.'),
    available: this.#gauge('mdevkit_available_instances', 'Mdevs that can still be created.', [
      'parent',
      'type',
    ]),
    mdevs: this.#gauge('mdevkit_mdevs', 'Mdevs that hosts bear.', ['parent', 'type', 'state']),
    clients: this.#gauge('mdevkit_clients', 'Mdevs that a client has open.', ['parent']),
    definitions: this.#gauge('mdevkit_definitions', 'Mdevs that are defined.'),
    faults: this.#gauge(
      'mdevkit_definition_faults',
      'Files that should be definitions, and are none.',
    ),
    waiting: this.#gauge('mdevkit_mdevs_waiting', 'Mdevs that should be active, and are not.'),
    streams: this.#gauge('mdevkit_event_streams', 'Event streams that are open.'),
    memory: this.#gauge('process_resident_memory_bytes', 'Memory of the daemon.'),
    cpu: this.#gauge('process_cpu_seconds_total', 'Processor time of the daemon.'),
  }
  readonly #requests = new Counter({
    name: 'mdevkit_http_requests_total',
    help: 'Requests answered.',
    labelNames: ['method', 'route', 'status'],
    registers: [this.#registry],
  })

  constructor(options: MetricsOptions) {
    this.#options = options
    this.contentType = this.#registry.contentType
  }

  /** Notes an answer. @param route as in the table; what was asked for would be a label without end */
  answered(method: string, route: string, status: number): void {
    this.#requests.inc({ method, route, status })
  }

  /** In the text format that Prometheus reads. */
  async text(): Promise<string> {
    const { plane, version, streams } = this.#options
    const [parents, { mdevs, faults }] = await Promise.all([plane.parents(), plane.list()])
    const gauges = this.#gauges
    for (const gauge of Object.values(gauges)) gauge.reset() // what is no more has no number
    gauges.build.set({ version }, 1)
    const absent = parents.filter(({ pid }) => pid === undefined)
    const unregistered = absent.filter((parent) => parent.unregistered === true).length
    gauges.parents.set(parents.length - absent.length)
    gauges.missing.set(absent.length - unregistered)
    gauges.unregistered.set(unregistered)
    for (const { name: parent, types, mdevs: borne } of parents) {
      for (const { name: type, availableInstances } of types) {
        gauges.available.set({ parent, type }, availableInstances)
      }
      gauges.clients.set({ parent }, borne.filter(({ client }) => client !== undefined).length)
      for (const { type, state } of borne) gauges.mdevs.inc({ parent, type, state })
    }
    gauges.definitions.set(mdevs.filter(({ definition }) => definition !== undefined).length)
    gauges.faults.set(faults.length)
    gauges.waiting.set(mdevs.filter(({ waits }) => waits !== undefined).length)
    gauges.streams.set(streams())
    gauges.memory.set(process.memoryUsage.rss())
    const { user, system } = process.cpuUsage()
    gauges.cpu.set((user + system) / 1e6)
    return this.#registry.metrics()
  }

  #gauge<T extends string>(name: string, help: string, labelNames: readonly T[] = []): Gauge<T> {
    return new Gauge({ name, help, labelNames: [...labelNames], registers: [this.#registry] })
  }
}
