/** `mdevkit register`: brings a parent of the configuration back that was unregistered. */
import type { ControlPlane } from '../http/model.ts'
import { ErrnoError } from '../lib/errno.ts'

/** @throws as ControlPlane.register · EIO its host cannot be started, and is tried again */
export async function register(plane: ControlPlane, parent: string): Promise<void> {
  const { pid, waits } = await plane.register(parent)
  if (pid === undefined)
    throw new ErrnoError('EIO', `parent ${parent}: ${waits}; it is tried again by itself`)
}
