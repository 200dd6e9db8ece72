/** The kernel's transcript, chapters 1 to 3 as far as sysfs shows them, played over the mount by a shell. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { PROJECT } from '../support/mdevkit.ts'
import { DIFFERENCES } from './differences.ts'
import { MountedMachine } from './mounted-machine.ts'
import { normalised, play } from './transcript-player.ts'

const THREE = [1, 2, 3].map(
  (n) => `echo 83b8f4f2-509f-382f-3c1e-e6bfe0fa100${n} > $T/mtty-1/create`,
)

/** Chapters, and what is there when they begin. Names of device nodes and of kernel modules are left out of them. */
const CHAPTERS: Readonly<Record<string, readonly string[]>> = {
  parents: [],
  access: [],
  create: [],
  duplicates: [THREE[0]!, 'echo 83b8f4f2-509f-382f-3c1e-e6bfe0faabcd > $T/mtty-1/create'],
  refused: [
    ...THREE,
    ...[4, 5].map((n) => `echo 83b8f4f2-509f-382f-3c1e-e6bfe0fa100${n} > $T/mtty-1/create`),
    'echo 83b8f4f2-509f-382f-3c1e-e6bfe0faabcd > $T/mtty-1/create',
  ],
  remove: THREE,
  devices: [],
  'counts-mtty': [],
  'counts-mdpy': [],
  'counts-mbochs': [],
  instances: [],
  probe: ['echo $(u 1) > $A/mprobe-one/create'],
  removal: [],
}

describe('the mounted tree', () => {
  for (const [name, before] of Object.entries(CHAPTERS)) {
    test(`answers as the kernel does: ${name}`, async () => {
      await using machine = await MountedMachine.start()
      for (const command of before) assert.equal((await machine.play(command)).stderr, '')
      const kernel = readFileSync(join(PROJECT, `test/sysfs/golden/${name}.txt`), 'utf8')
      assert.equal(await play(expected(kernel), machine), normalised(expected(kernel)))
    })
  }
})

function expected(kernel: string): string {
  return DIFFERENCES.reduce(
    (text, difference) => text.replace(difference.kernel, difference.ours),
    kernel,
  )
}

test('every difference from the kernel that the transcript shows is in docs/sysfs.md', () => {
  const docs = readFileSync(join(PROJECT, 'docs/sysfs.md'), 'utf8')
  for (const { title } of DIFFERENCES) assert.match(docs, new RegExp(`^\\| ${title} +\\|`, 'm'))
})
