/** `npm run demo`: a mediated device, a guest that uses it, and a talk through it. */
import { main } from './main.ts'
import { interruptions } from './program.ts'

process.exitCode = await main(process.argv.slice(2), {
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
  colour: process.stdout.isTTY && !process.env['NO_COLOR'],
  signal: interruptions(),
})
