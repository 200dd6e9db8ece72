/** `mdevkit stop`: removes an active mdev, as `mdevctl stop` does: it waits for a client to let go. */
import type { MdevctlContext } from './mdevctl-context.ts'
import { describeError } from '../lib/errno.ts'
import { Refusal } from './mdevctl-refusal.ts'

export interface StopOptions {
  readonly uuid: string
  /** Though another owner has made it. */
  readonly force?: boolean
}

export async function stop(
  { plane, callouts }: MdevctlContext,
  { uuid, force = false }: StopOptions,
): Promise<string> {
  const { mdevs } = await plane.list()
  const active = mdevs.find((mdev) => mdev.uuid === uuid && mdev.active !== undefined)?.active
  if (active === undefined)
    throw new Refusal(`Device ${uuid} is not an active mdev`, { code: 'ENOENT' })
  const definition = { type: active.type, start: 'manual', attributes: [] } as const
  await callouts.around('stop', { uuid, parent: active.parent, definition }, force, async () => {
    try {
      await plane.stop(uuid, { wait: true, takeOver: force })
    } catch (error) {
      const cause = describeError(error)
      throw new Refusal(`Error removing device ${uuid}`, { cause, origin: error })
    }
  })
  return ''
}
