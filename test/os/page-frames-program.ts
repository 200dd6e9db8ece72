/** Says the frame of a page that it has. */
import { pageFrames } from '../../src/os/page-frames.ts'
import { SharedFile } from '../support/pin-space.ts'

using file = new SharedFile(1)
file.bytes(0, 1)[0] = 1
console.log(pageFrames(file.pieceAt(0).address, 1))
