/** mdevctl's verbs as mdevctl 1.4.0 has them: its transcript, played again and compared byte for byte. */
import { describe, test } from 'node:test'
import { Api } from '../http/support.ts'
import { machineWith, RECORDED, startParents } from './mdevctl-machine.ts'
import { playGolden } from './mdevctl-player.ts'

/**
 * Each on a machine of its own. What looks at the kernel's sysfs, and what is different on purpose (docs/mdevctl.md), is
 * left out of them.
 */
const CHAPTERS = ['types', 'list-nothing', 'start', 'list', 'define', 'modify']

describe('mdevctl', () => {
  for (const chapter of CHAPTERS) {
    test(`says and does what the transcript says: ${chapter}`, async () => {
      using daemon = await machineWith(RECORDED)
      await playGolden(chapter, { plane: daemon.machine, cwd: daemon.scratch.path })
    })

    test(`says and does the same over the API: ${chapter}`, async () => {
      await using api = await Api.start()
      const { daemon, client } = api
      await startParents(daemon, RECORDED)
      await playGolden(chapter, { plane: client, cwd: daemon.scratch.path })
    })
  }
})
