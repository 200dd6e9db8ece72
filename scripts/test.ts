/**
 * `npm test [-- PATH…]`: runs all compiled tests, or those whose path contains one of the arguments.
 *
 * `--root DIR`, `--timeout-ms N` and `--linger-ms N` are for the test of this very program.
 */
import { parseArgs } from 'node:util'
import { projectRoot, runTests } from './test-runner.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    root: { type: 'string', default: projectRoot() },
    'timeout-ms': { type: 'string', default: '300000' },
    'linger-ms': { type: 'string', default: '30000' },
  },
})

// run() passes the environment on, and has no option of its own for this on Node 20
process.env['NODE_OPTIONS'] = `${process.env['NODE_OPTIONS'] ?? ''} --enable-source-maps`.trim()

const { failures } = await runTests({
  root: values.root,
  filters: positionals,
  timeoutMs: Number(values['timeout-ms']),
  lingerMs: Number(values['linger-ms']),
  write: (text) => void process.stdout.write(text),
})
// not by itself: a process left behind by a test may still hold one of our pipes
process.stdout.write('', () => process.exit(failures.length === 0 ? 0 : 1))
