/** What a part is given to measure with, for tests: as little as can be. */
import { fileURLToPath } from 'node:url'
import { compile } from '../../bench/c-programs.ts'
import type { Bench } from '../../bench/part.ts'
import { allowedProcessors } from '../../bench/pinning.ts'
import { echoServer, hostServer } from '../../bench/servers.ts'
import type { Scratch } from '../support/scratch.ts'

export function smallBench(scratch: Scratch): Bench {
  const programs = compile(scratch.path)
  return {
    programs,
    echo: echoServer(programs),
    hosts: [hostServer('mdevkit', fileURLToPath(new URL('../../bench/host.js', import.meta.url)))],
    directory: scratch.path,
    allowed: allowedProcessors(),
    placements: ['same'],
    rounds: 1,
    quick: true,
    tell: () => {},
  }
}
