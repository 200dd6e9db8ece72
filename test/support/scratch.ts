/** Directories for tests to write in. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A directory of one's own, gone with all that is in it when the `using` scope ends. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'mdevkit-test-'))

  /** Writes a file, making the directories on its way, and returns its path. */
  write(path: string, content: string | Uint8Array): string {
    const file = join(this.path, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
    return file
  }

  [Symbol.dispose](): void {
    unmountBelow(this.path) // what a killed daemon has left
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** Takes away every mount below a directory, the innermost first. */
export function unmountBelow(directory: string): void {
  const places = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((place) => place.startsWith(`${directory}/`))
  for (const place of places.toReversed()) spawnSync('umount', ['--lazy', place])
}
