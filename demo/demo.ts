/** `npm run demo`: a mediated device, a guest that uses it, and a talk through it. */
import { constants } from 'node:os'
import { Interruption, main } from './main.ts'

const interrupted = new AbortController()
const interrupt = (name: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGPIPE') =>
  interrupted.abort(new Interruption(name, constants.signals[name]))
// once: a second Ctrl-C ends us at once, and what then is left behind removes itself
process.once('SIGINT', interrupt)
process.once('SIGTERM', interrupt)
process.once('SIGHUP', interrupt)
process.stdout.on('error', () => interrupt('SIGPIPE')) // whoever read along has gone

process.exitCode = await main(process.argv.slice(2), {
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
  colour: process.stdout.isTTY && !process.env['NO_COLOR'],
  signal: interrupted.signal,
})
