/** A program for kit.test.ts to end: it boots a guest, says which, and never stops it. */
import { bootGuest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'

const guest = await bootGuest({ assets: await prepareVm(), init: 'sleep 1000' })
console.log(JSON.stringify({ pid: guest.pid, commandLine: guest.commandLine }))
if (process.argv[2] === 'exit') process.exit(0)
await guest.exited
