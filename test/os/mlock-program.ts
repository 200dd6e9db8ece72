/** Locks pages up to its limit of 16 and beyond, and says what came of it. */
import { errnoCode, ErrnoError } from '../../src/lib/errno.ts'
import { lockPages } from '../../src/os/mlock.ts'
import { lockedBytes, SharedFile } from '../support/pin-space.ts'

const PAGE = 4096

using file = new SharedFile(32)
const { address } = file.pieceAt(0)

function tryLock(first: number, count: number): void {
  try {
    lockPages(address + first * PAGE, count * PAGE)
  } catch (error) {
    if (!(error instanceof ErrnoError)) throw error
    console.log(errnoCode(error.errno), error.message)
  }
  console.log(`locked ${lockedBytes()}`)
}

tryLock(0, 17)
tryLock(0, 16)
tryLock(20, 1)
