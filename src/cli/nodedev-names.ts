/** How libvirt names node devices: letters, digits and `_` alone. */
import { ErrnoError } from '../lib/errno.ts'
import type { MdevView, ParentView } from '../http/model.ts'

/** `mtty_mtty`: the class of the device, which here is its driver, and its own name. */
export function parentNodeName({ driver, name }: Pick<ParentView, 'driver' | 'name'>): string {
  return plain(`${driver}_${name}`)
}

/** `mdev_00000001_…_mtty`: with the parent, since a UUID may be defined on several. */
export function mdevNodeName({ uuid, parent }: Pick<MdevView, 'uuid' | 'parent'>): string {
  return plain(`mdev_${uuid}_${parent}`)
}

/** @throws ENOENT none, or no mdev, has that name */
export function findMdev(mdevs: readonly MdevView[], name: string): MdevView {
  const found = mdevs.find((mdev) => mdevNodeName(mdev) === name)
  if (found !== undefined) return found
  const message = `no node device with matching name '${name}'; there are: mdevkit nodedev list --all`
  throw new ErrnoError('ENOENT', message)
}

function plain(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9_]/g, '_')
}
