/** What killed hosts have left of their mdevs: directories with sockets that nobody serves. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describeError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { FileClaims } from './file-claims.ts'

/** Removes it; what is in use stays. */
export function removeLeftDevices(root: string, log: Logger): void {
  const claims = new FileClaims(root)
  for (const uuid of namesIn(join(root, 'devices'))) {
    try {
      claims.claimUuid(uuid).release() // a claim empties the directory, and its end removes it
    } catch (error) {
      const inUse = error instanceof Error && 'code' in error && error.code === 'EEXIST'
      if (!inUse) log.warn(`what is left of mdev ${uuid}: ${describeError(error)}`)
    }
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // no mdev has been here yet
  }
}
