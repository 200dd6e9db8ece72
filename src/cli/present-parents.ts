/** The parents of a machine as mdevctl and libvirt know them: only those that are there. */
import type { ControlPlane, ParentView } from '../http/model.ts'

export async function presentParents(plane: ControlPlane): Promise<readonly ParentView[]> {
  return (await plane.parents()).filter(({ waits }) => waits === undefined)
}
