/** What tests of guests on a disk of `drivers/nvme` have in common. */
import assert from 'node:assert/strict'
import { closeSync, openSync, readSync } from 'node:fs'
import type { Guest } from '../../vm/guest.ts'

/** An emulated guest on a machine that has much else to do. */
export const PATIENCE = { timeoutMs: 240_000 }

/** Runs a command in a guest that is to succeed. @returns what it printed */
export async function runIn(guest: Guest, command: string): Promise<string> {
  const { output, status } = await guest.run(command, PATIENCE)
  assert.equal(status, 0, `${command}\n${output}`)
  return output
}

/** What an image has at `offset`. */
export function imageAt(image: string, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const fd = openSync(image, 'r')
  try {
    assert.equal(readSync(fd, bytes, 0, length, offset), length)
  } finally {
    closeSync(fd)
  }
  return bytes
}
