/** Directories for tests to write in. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A directory of one's own, gone with all that is in it when the `using` scope ends. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'mdevkit-test-'))

  /** Writes a file, making the directories on its way, and returns its path. */
  write(path: string, text: string): string {
    const file = join(this.path, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    return file
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
