/** Events as lines: what happened, to which parent or mdev, and what is worth knowing of it. */
import type { MachineEvent, SnapshotEvent } from '../http/events.ts'
import type { MdevSnapshot, MdevView, ParentView } from '../http/model.ts'

/** Of the longest action, `undefine`, and `snapshot`. */
const WIDTH = 8

/** A line, with its newline; of a snapshot one more for each parent, mdev and broken file. */
export function eventText(event: SnapshotEvent | MachineEvent): string {
  if (event.action !== 'snapshot') return line(event.action, subjectOf(event), detailOf(event))
  const { parents, mdevs, faults } = event
  return [
    line('snapshot', `parents: ${parents.length}, mdevs: ${mdevs.length}`),
    ...parents.map((parent) => line('parent', parent.name, parentText(parent))),
    ...mdevs.map((mdev) => line('mdev', `${mdev.parent}/${mdev.uuid}`, viewText(mdev))),
    ...faults.map(({ path, message }) => line('broken', path, message)),
  ].join('')
}

function line(action: string, subject: string, detail = ''): string {
  return `${`${action.padEnd(WIDTH)}  ${subject}  ${detail}`.trimEnd()}\n`
}

function subjectOf(event: MachineEvent): string {
  return 'uuid' in event ? `${event.parent}/${event.uuid}` : event.parent
}

function detailOf(event: MachineEvent): string {
  if ('SYNTH_UUID' in event) return `SYNTH_UUID=${event.SYNTH_UUID}`
  if ('MDEV_STATE' in event) {
    const { MDEV_STATE: state, view } = event
    return `MDEV_STATE=${state}${view === undefined ? '' : `, ${parentText(view)}`}`
  }
  if ('mdev' in event) return mdevText(event.mdev)
  return 'definition' in event ? `${event.definition.type}, ${event.definition.start}` : ''
}

function parentText({ driver, pid, waits }: ParentView): string {
  const parts = [
    driver,
    ...(pid === undefined ? [] : [`pid ${pid}`]),
    ...(waits === undefined ? [] : [`waits: ${waits}`]),
  ]
  return parts.join(', ')
}

function viewText({ active, definition, waits }: MdevView): string {
  const parts = [
    ...(active === undefined ? [] : [mdevText(active)]),
    ...(active !== undefined || definition === undefined ? [] : [definition.type]),
    ...(definition === undefined ? [] : [`defined ${definition.start}`]),
    ...(waits === undefined ? [] : [`waits: ${waits}`]),
  ]
  return parts.join(', ')
}

function mdevText({ type, state, client }: MdevSnapshot): string {
  return [type, state, ...(client === undefined ? [] : [client])].join(', ')
}
