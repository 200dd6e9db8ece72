/** Locks as many bytes as each line of its input says, and says `done`; at the end of its input it ends. */
import { createInterface } from 'node:readline'
import { cFunction, check } from '../../src/os/ffi.ts'
import { lockPages } from '../../src/os/mlock.ts'

const mmap = cFunction('mmap', 'size', ['ptr', 'size', 'int', 'int', 'int', 'size'])

console.log('done')
createInterface({ input: process.stdin }).on('line', (line) => {
  const length = Number(line)
  // <sys/mman.h>: read and write, private and anonymous
  lockPages(check(mmap(0, length, 3, 0x22, -1, 0), 'mmap'), length)
  console.log('done')
})
