/** Tries to lock the file that it is given, says whether it could, and holds the lock until its input ends. */
import { tryLockFile } from '../../src/os/file-lock.ts'

const lock = tryLockFile(process.argv[2] ?? '')
console.log(lock === undefined ? 'refused' : 'locked')
if (lock === undefined) process.exit(1)
process.stdin.on('end', () => lock.release()).resume()
