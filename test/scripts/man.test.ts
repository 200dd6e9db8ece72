/** The manual page: what the commands are, in roff that no reader complains about. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { manPage } from '../../scripts/man-page.ts'
import { projectRoot } from '../../scripts/test-runner.ts'

const FILE = join(projectRoot(), 'man/mdevkit.1')

/** What a program says of the page; it has to be there. */
function read(program: string, ...args: readonly string[]) {
  const env = { ...process.env, LC_ALL: 'C', MANWIDTH: '80' }
  const { error, ...read } = spawnSync(program, [...args, FILE], { encoding: 'utf8', env })
  assert.equal(error, undefined, `${program} is needed: apt-get install man-db groff`)
  return read
}

describe('man/mdevkit.1', () => {
  test('is up to date: node dist/scripts/man.js writes it', () => {
    const { version } = JSON.parse(readFileSync(join(projectRoot(), 'package.json'), 'utf8')) as {
      version: string
    }
    assert.equal(readFileSync(FILE, 'utf8'), manPage(version), 'run: node dist/scripts/man.js')
  })

  test('has no fault that man or groff warns of', () => {
    const rendered = read('man', '--warnings', '-l')
    assert.deepEqual([rendered.stderr, rendered.status], ['', 0])
    const formatted = read('groff', '-ww', '-man', '-Tascii', '-z')
    assert.deepEqual([formatted.stderr, formatted.status], ['', 0])
  })

  test('shows every command, option and exit code as it is typed', () => {
    const { stdout: text } = read('man', '-l')
    for (const shown of [
      /^ {3}attach uuid\.\.\.$/m,
      /^ {3}nodedev dumpxml name$/m,
      /^ {7}-f, --follow$/m,
      /^ {7}-p, --parent PARENT$/m,
      /^ {7}8 +the daemon, or a host, does not answer \(ECONNREFUSED,/m,
      /^ {14}mdevkit events -f -o json$/m,
    ])
      assert.match(text, shown)
    assert.doesNotMatch(text, /start-parent-mdevs|__complete/) // for udev, for shells
  })
})
