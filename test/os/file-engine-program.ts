/** Reads a file by the best engine there is, and says which that is; and what asking for io_uring comes to. */
import { AsyncFile, blockOf } from '../../src/os/async-file.ts'
import { describeError } from '../../src/lib/errno.ts'

const path = process.argv[2] ?? ''
const file = new AsyncFile(path)
const block = blockOf(new Uint8Array(5))
await new Promise((resolve) => {
  file.read(0, block, 5, resolve)
  file.submit()
})
console.log(file.engine, Buffer.from(block.bytes).toString())
await file.close()
try {
  await new AsyncFile(path, { engine: 'io_uring' }).close()
  console.log('io_uring is there')
} catch (error) {
  console.log(describeError(error))
}
