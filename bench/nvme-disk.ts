/** A disk to measure: an image that is written everywhere, and a process that serves it. */
import { closeSync, mkdtempSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Child } from './child.ts'
import type { Bench } from './part.ts'
import type { Running } from './server.ts'

/** Of the controller that is served. */
export const SERIAL = 'mdevkit'

const PROGRAM = fileURLToPath(new URL('./nvme-host.js', import.meta.url))
const MIB = 2 ** 20
const STUFF = Buffer.alloc(MIB, 0x5a)

/** Makes an image without holes, all of which is in the page cache then. @returns its path */
export function makeImage(directory: string, name: string, sizeMib: number): string {
  const path = join(directory, name)
  const fd = openSync(path, 'wx')
  try {
    for (let i = 0; i < sizeMib; i++) writeSync(fd, STUFF)
  } finally {
    closeSync(fd)
  }
  return path
}

export interface NvmeHost {
  readonly child: Child
  readonly socket: string
}

/** Starts a host that serves an image as one disk; it ends with `running`. */
export async function startNvmeHost(
  bench: Bench,
  running: Running,
  processors: number | readonly number[],
  image: string,
  queues = 1,
): Promise<NvmeHost> {
  const directory = mkdtempSync(join(bench.directory, 's-')) // short: a socket's path has at most 107 bytes
  const command = [process.execPath, PROGRAM, directory, image, String(queues)]
  const child = running.add(await Child.start('nvme host', processors, command))
  const { socket } = await child.next<{ socket: string }>()
  return { child, socket }
}
