/** `examples/` as people try them: given as a path to `mdevkit run`, and found by a guest. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { type Guest, bootGuest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { type Mdevkit, PROJECT, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'

const EXAMPLE = `${PROJECT}examples/scratchpad.ts`

const scratch = new Scratch()
let host: Mdevkit
let guest: Guest

before(async () => {
  const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  const { host: started, report } = await serve([EXAMPLE], { root: scratch.path })
  host = started
  guest = await bootGuest({ assets, init: shellInit, sharedMemory: false, devices: report.qemu })
})
after(async () => {
  await guest?.stop()
  await host?.stop()
  scratch[Symbol.dispose]()
})

test('the example driver has at most 25 lines of code', () => {
  const code = readFileSync(EXAMPLE, 'utf8')
    .split('\n')
    .filter((line) => !/^\s*(\/\/.*|\/\*\*.*\*\/)?$/.test(line))
  assert.ok(code.length <= 25, `${code.length} lines`)
})

test('a guest finds the example driver’s card, with its ids and its BAR', async () => {
  const { output } = await guest.run('lspci -vvv -n -d 1b36:be11 2>/dev/null')
  assert.match(output, /^\S+ ff00: 1b36:be11\n\s+Subsystem: 1b36:be11\n/)
  assert.match(output, /Region 0: Memory at \w+ \(32-bit, non-prefetchable\) \[size=4K\]\n/)
  assert.doesNotMatch(output, /Region 1|Interrupt|Capabilities/)
})

test('a guest reads and writes the example driver’s registers', async () => {
  const { output } = await guest.run(`
    base=$(cut -d' ' -f1 /sys/bus/pci/devices/0000:00:01.0/resource | head -n 1)
    devmem $base 32
    devmem $((base + 8)) 32 0xdeadbeef
    devmem $((base + 8)) 32; devmem $((base + 9)) 8; devmem $((base + 10)) 16
    devmem $((base + 0xffe)) 16 0xabcd; devmem $((base + 0xffc)) 32`)
  assert.deepEqual(output.trim().split('\n'), [
    '0x00000000',
    '0xDEADBEEF',
    '0xBE',
    '0xDEAD',
    '0xABCD0000',
  ])
})
