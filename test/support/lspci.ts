/** Asks lspci what it makes of a configuration space. */
import { execFileSync } from 'node:child_process'
import { Scratch } from './scratch.ts'

/**
 * The decoded lines, trimmed, of `lspci -vvv` for one function.
 *
 * @throws when there is no lspci, saying what to install
 */
export function lspci(config: Uint8Array): string[] {
  using scratch = new Scratch()
  const file = scratch.write('dump', hexDump(config))
  try {
    // -n: ids as numbers, since the list of names is not always there
    const text = execFileSync('lspci', ['-n', '-vvv', '-F', file], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return text.split('\n').map((line) => line.trim())
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') {
      throw new Error('no lspci in PATH: apt-get install pciutils', { cause: error })
    }
    throw error
  }
}

/** What `lspci -x` prints, and `lspci -F` reads. */
function hexDump(config: Uint8Array): string {
  const lines = ['00:00.0 device']
  for (let at = 0; at < config.length; at += 16) {
    const row = Array.from(config.subarray(at, at + 16), (byte) =>
      byte.toString(16).padStart(2, '0'),
    )
    lines.push(`${at.toString(16).padStart(2, '0')}: ${row.join(' ')}`)
  }
  return `${lines.join('\n')}\n\n`
}
