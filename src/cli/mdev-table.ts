/** Mdevs, parents and types as tables. */
import type { ForegroundMdev } from '../host/foreground-mdevs.ts'
import type { MdevView, ParentView } from '../http/model.ts'
import type { Paints } from './paint.ts'
import { type Cell, table } from './table.ts'

/** Whether active or not; what it lacks where it is neither active nor wanted to be is shown as a dash. */
export function mdevTable(mdevs: readonly MdevView[], paints: Paints): string {
  const headings = [
    'UUID',
    'PARENT',
    'TYPE',
    'START',
    'STATE',
    'GROUP',
    'CLIENT',
    'SOCKET, OR WHY NOT',
  ]
  return table(
    headings,
    mdevs.map(({ uuid, parent, active, definition, waits }) => [
      uuid,
      parent,
      active?.type ?? definition?.type ?? '',
      definition?.start ?? '',
      stateOf({ active, waits }, paints),
      active === undefined ? '' : String(active.group),
      active?.client ?? '',
      active?.socket ?? waits ?? '',
    ]),
  )
}

function stateOf(
  { active, waits }: { readonly active: MdevView['active']; readonly waits: string | undefined },
  { good, fair, bad }: Paints,
): Cell {
  if (active !== undefined)
    return { text: active.state, paint: active.state === 'active' ? good : fair }
  return waits === undefined ? 'defined' : { text: 'waiting', paint: bad }
}

/** What only the process that bears it can end. */
export function foregroundTable(mdevs: readonly ForegroundMdev[]): string {
  return table(
    ['RUN IN THE FOREGROUND', 'PARENT', 'PID', 'SOCKET'],
    mdevs.map(({ uuid, parent, pid, socket }) => [uuid, parent, String(pid), socket]),
  )
}

export function parentTable(parents: readonly ParentView[], paints: Paints): string {
  return table(
    ['PARENT', 'DRIVER', 'STATE', 'PID', 'MDEVS', 'AVAILABLE, OR WHY NOT'],
    parents.map((parent) => [
      parent.name,
      parent.driver,
      stateOfParent(parent, paints),
      parent.pid === undefined ? '' : String(parent.pid),
      String(parent.mdevs.length),
      parent.waits ?? availableText(parent),
    ]),
  )
}

function stateOfParent(parent: ParentView, { good, fair, bad }: Paints): Cell {
  const { state, pid, waits, unregistered = false } = parent
  if (pid === undefined && !unregistered && waits !== undefined)
    return { text: 'waiting', paint: bad }
  return { text: state, paint: state === 'registered' ? good : fair }
}

function availableText({ types }: ParentView): string {
  return types.map(({ name, availableInstances }) => `${name} ${availableInstances}`).join(', ')
}

export function typeTable(parents: readonly ParentView[]): string {
  return table(
    ['PARENT', 'TYPE', 'AVAILABLE', 'API', 'NAME'],
    parents.flatMap(({ name: parent, types }) =>
      types.map(({ name, availableInstances, deviceApi, prettyName }) => [
        parent,
        name,
        String(availableInstances),
        deviceApi,
        prettyName,
      ]),
    ),
  )
}
