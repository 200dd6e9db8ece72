/**
 * How many mdevs a parent can bear: ready-made policies for a driver's `available`, beside which it may write its own.
 *
 * Where it is a plain number for all types together, a driver says `maxInstances` instead.
 */
import type { TypeInfo } from './driver.ts'

/** What a policy looks at of an mdev. */
interface Typed<T> {
  readonly type: T
}

/** How many more mdevs of `type` fit beside `mdevs`. */
export type AvailableInstances<T extends TypeInfo> = (type: T, mdevs: readonly Typed<T>[]) => number

/** So many mdevs of each type, whatever there is of the others. */
export function perType<T extends TypeInfo>(countOf: (type: T) => number): AvailableInstances<T> {
  return (type, mdevs) => countOf(type) - mdevs.filter((mdev) => mdev.type === type).length
}

/**
 * A budget that all types draw on, each by its own cost: a big one uses up several small ones (mtty's ports, mbochs' and
 * i915 GVT-g's memory).
 *
 * @param units  of the whole parent
 * @param costOf units of one mdev of a type
 */
export function sharedBudget<T extends TypeInfo>(
  units: number,
  costOf: (type: T) => number,
): AvailableInstances<T> {
  return (type, mdevs) => {
    const used = mdevs.reduce((sum, mdev) => sum + costOf(mdev.type), 0)
    return Math.floor((units - used) / costOf(type))
  }
}

/**
 * One type at a time: the first mdev fixes it, and until the last is gone the other types have none (NVIDIA's vGPUs).
 *
 * @param countOf mdevs of a type when the parent bears nothing else
 */
export function homogeneous<T extends TypeInfo>(
  countOf: (type: T) => number,
): AvailableInstances<T> {
  return (type, mdevs) =>
    mdevs.some((mdev) => mdev.type !== type) ? 0 : countOf(type) - mdevs.length
}
