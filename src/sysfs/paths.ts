/** Where things are in the tree, and how links say it. */
import { posix } from 'node:path'
import type { TreeLink } from '../lib/tree.ts'

export const BUS = '/bus/mdev'
export const MDEV_CLASS = '/class/mdev_bus'
export const VFIO_DEV_CLASS = '/class/vfio-dev'
export const GROUPS = '/kernel/iommu_groups'
export const TYPES = 'mdev_supported_types'

/** All parents are virtual devices of a class that has their driver's name. */
export function parentPath(driver: string, parent: string): string {
  return `/devices/virtual/${driver}/${parent}`
}

export function driverPath(driver: string): string {
  return `${BUS}/drivers/${driver}`
}

/**
 * @param directory that the link is in
 * @see Linux fs/kernfs/symlink.c: up to where the directory of the target branches off
 */
export function link(directory: string, target: string): TreeLink {
  const way = posix.relative(directory, posix.dirname(target))
  return { kind: 'link', target: posix.join(way, posix.basename(target)) }
}
