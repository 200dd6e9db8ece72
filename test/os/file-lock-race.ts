/** Takes and gives back the lock in a folder many times; while it has the lock nobody else may be inside. */
import { rmdirSync, mkdirSync, unlinkSync } from 'node:fs'
import { tryLockFile } from '../../src/os/file-lock.ts'

const folder = process.argv[2] ?? ''

for (let taken = 0; taken < 300;) {
  const lock = tryLockFile(`${folder}/lock`)
  if (lock === undefined) continue
  taken++
  mkdirSync(`${folder}/inside`) // EEXIST when somebody else is
  rmdirSync(`${folder}/inside`)
  unlinkSync(`${folder}/lock`)
  lock.release()
}
console.log('done')
