/** `mdevkit status`: the daemon, parents with their types, and mdevs, at a glance. It needs no daemon. */
import { runtimeRoot } from '../host/paths.ts'
import { apiSocket } from '../http/client.ts'
import { type MachineView, viewMachine } from './machine-view.ts'
import { foregroundTable, mdevTable, parentTable } from './mdev-table.ts'
import { formatted, type ListingFormat } from './output-format.ts'
import { type Paints, paintsFor } from './paint.ts'

export interface StatusOptions {
  readonly output?: ListingFormat
}

/** @throws UnreachableError there is neither a daemon nor a host · as viewMachine */
export async function status({ output = 'table' }: StatusOptions): Promise<void> {
  const root = runtimeRoot()
  const view = await viewMachine(root)
  const { daemon, parents, mdevs, faults, foreground, unreachable, silent } = view
  for (const line of silent) process.stderr.write(`mdevkit status: ${line}\n`)
  if (unreachable !== undefined) {
    if (parents.length + foreground.length + silent.length === 0) throw unreachable
    process.stderr.write(
      `mdevkit status: ${unreachable.message}; hosts were asked instead, and definitions are not shown\n`,
    )
  }
  const text = await formatted(output, {
    table: () => statusText(view, apiSocket(root), paintsFor(process.stdout)),
    value: { daemon: daemon ?? null, parents, mdevs, faults, foreground },
    names: [
      ...parents.map(({ name }) => `parent/${name}`),
      ...[...mdevs, ...foreground].map(({ parent, uuid }) => `mdev/${parent}/${uuid}`),
    ],
  })
  process.stdout.write(text)
}

/** @param socket the API's */
export function statusText(view: MachineView, socket: string, paints: Paints): string {
  const { daemon, parents, mdevs, faults, foreground } = view
  const says =
    daemon === undefined
      ? paints.bad('does not answer')
      : `${daemon.version}, pid ${daemon.pid}, ${socket}`
  const blocks = [
    `daemon  ${says}\n`,
    parents.length === 0 ? 'no parents\n' : parentTable(parents, paints),
    mdevs.length === 0 ? 'no mdevs\n' : mdevTable(mdevs, paints),
    ...(foreground.length === 0 ? [] : [foregroundTable(foreground)]),
    ...(faults.length === 0
      ? []
      : [
          faults
            .map(({ path, message }) => `${paints.bad('broken')}  ${path}: ${message}\n`)
            .join(''),
        ]),
  ]
  return blocks.join('\n')
}
