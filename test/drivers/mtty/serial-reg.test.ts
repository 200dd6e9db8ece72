import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as serial from '../../../drivers/mtty/serial-reg.ts'
import { runC } from '../../support/cc.ts'

/** Newer than the headers of the distributions we build on; Linux 6.12 has UART_IIR_FIFO_ENABLED. */
const NEWER = new Set(['UART_IIR_FIFO_ENABLED'])

test('serial-reg has the numbers of <linux/serial_reg.h>', () => {
  const ours = Object.entries(serial).filter(([name]) => !NEWER.has(name))
  const lines = ours.map(([name]) => `printf("${name} %u\\n", (unsigned)${name});`)
  const program = [
    '#include <stdio.h>',
    '#include <linux/serial_reg.h>',
    'int main(void) {',
    ...lines,
    '}',
  ]
  assert.equal(runC(program.join('\n')).trim(), ours.map((entry) => entry.join(' ')).join('\n'))
})
