/** `npm run guest`: a Linux guest with an mdev of any driver. */
import { main } from './guest-main.ts'
import { interruptions } from './program.ts'

// npm runs its scripts in the project; paths are meant from where the user is
const { npm_lifecycle_event: script, INIT_CWD: calledIn } = process.env
if (script === 'guest' && calledIn !== undefined) process.chdir(calledIn)

process.exitCode = await main(process.argv.slice(2), interruptions())
process.exit() // standard input, once read from, would keep us
