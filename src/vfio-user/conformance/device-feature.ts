/** Features of DEVICE_FEATURE, and how a server says whether it has one. */
import * as wire from '../../abi/vfio-user.ts'
import * as vfio from '../../abi/vfio.ts'
import { isError, type RawConnection } from './raw-connection.ts'
import { feature } from './requests.ts'

/** VFIO_DEVICE_FEATURE_* of <linux/vfio.h>. */
export const MIGRATION = 1
export const MIG_DEVICE_STATE = 2
export const DMA_LOGGING_START = 6
export const DMA_LOGGING_STOP = 7
export const DMA_LOGGING_REPORT = 8

/** How a server refuses what is wrong, a feature that it does not have, or all of them. */
export const FEATURE_REFUSALS = ['EINVAL', 'ENOTTY', 'ENOSYS', 'EOPNOTSUPP'] as const

/** Asks by PROBE. @param flags the feature and what is to be done with it */
export async function isOffered(connection: RawConnection, flags: number): Promise<boolean> {
  const request = feature(flags | vfio.VFIO_DEVICE_FEATURE_PROBE)
  return !isError(await connection.request(wire.VFIO_USER_DEVICE_FEATURE, request))
}
