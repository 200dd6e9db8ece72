/** What a process holds, as the kernel counts it: fds and mappings. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface Resources {
  /** What is behind each fd, without what tells two of a kind apart: 'socket', 'anon_inode:[eventfd]', a path. */
  readonly fds: readonly string[]
  /** Files that are mapped to be shared: the memory of clients. V8 maps none; rings of asynchronous I/O, libuv's too, do not count. */
  readonly shared: readonly string[]
  /** Mappings of half a GiB and more that can be written: the windows that the memory of clients is mapped into. */
  readonly windows: number
}

const WINDOW = 2 ** 29
const RINGS = /^(?:\/\[aio\]|anon_inode:\[io_uring\])/

/** @param pid this process unless given */
export function resourcesOf(pid: number = process.pid): Resources {
  const mappings = linesOfMaps(pid).map(parseMapping)
  return {
    fds: fdsOf(pid).toSorted(),
    shared: mappings
      .filter(({ mode, path }) => mode.endsWith('s') && !RINGS.test(path))
      .map(({ path }) => path),
    windows: mappings.filter(({ mode, size }) => mode === 'rw-p' && size >= WINDOW).length,
  }
}

/** How many mappings of any kind there are; V8 has more or fewer as it likes. */
export function mappingCount(pid: number = process.pid): number {
  return linesOfMaps(pid).length
}

function linesOfMaps(pid: number): string[] {
  return readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n')
}

function fdsOf(pid: number): string[] {
  const directory = `/proc/${pid}/fd`
  return readdirSync(directory).flatMap((fd) => {
    try {
      return [readlinkSync(`${directory}/${fd}`).replace(/:\[\d+\]$/, '')]
    } catch {
      return [] // the fd with which this directory was read
    }
  })
}

/** A line of proc_pid_maps(5): addresses, mode, offset, device, inode, path. */
function parseMapping(line: string): { mode: string; size: number; path: string } {
  const [addresses = '', mode = '', , , , ...path] = line.split(/\s+/)
  const [start = 0, end = 0] = addresses.split('-').map((text) => Number.parseInt(text, 16))
  return { mode, size: end - start, path: path.join(' ') }
}
