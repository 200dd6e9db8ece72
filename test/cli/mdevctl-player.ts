/** Plays shell lines with mdevctl's verbs in them against a control plane, and writes down what a terminal would show. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { refusalOf } from '../../src/cli/mdevctl-refusal.ts'
import { addMdevctlVerbs } from '../../src/cli/mdevctl-verbs.ts'
import type { ControlPlane } from '../../src/mdev/control-plane.ts'
import { PROJECT } from '../support/mdevkit.ts'

export interface Played {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

/** One command, such as `['list', '-d']`, in this process. */
export async function mdevctl(
  args: readonly string[],
  plane: ControlPlane,
  calloutDirectories: readonly string[] = [],
): Promise<Played> {
  const said = { stdout: '', stderr: '' }
  const program = new Command('mdevkit').exitOverride().enablePositionalOptions()
  addMdevctlVerbs(program, {
    scriptedPlane: plane,
    calloutDirectories,
    out: (text) => void (said.stdout += text),
    err: (text) => void (said.stderr += text),
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    return { ...said, code: 0 }
  } catch (error) {
    const refusal = refusalOf(error)
    if (refusal === undefined) throw error
    return { ...said, stderr: said.stderr + refusal.text, code: refusal.exitCode }
  }
}

/** `mdevctl ARGS` or `lsmdev ARGS`, and what its output is redirected to. */
const VERB = /^(mdevctl|lsmdev)((?:"[^"]*"|[^|>"])*)(.*)$/
/** The parts of a line with several commands. */
const PARTS = /(?:"[^"]*"|'[^']*'|[^;"'])+/g
const DEFINED_BY_JSON = '0000000f-0000-4000-8000-00000000000f'

export interface PlayerOptions {
  readonly plane: ControlPlane
  /** Where commands run, and files that they name lie; definitions are in `mdevctl.d` there, `$M` in commands. */
  readonly cwd: string
}

/** Plays a golden file, and compares. @param name without `mdevctl-` and `.txt` */
export async function playGolden(name: string, options: PlayerOptions): Promise<void> {
  const golden = readFileSync(join(PROJECT, `test/cli/golden/mdevctl-${name}.txt`), 'utf8')
  assert.equal(await play(golden, options), golden)
}

/**
 * Plays the lines of a transcript that begin with `$ `. `$(u 1)` is a UUID; what is no verb of mdevctl's goes to a shell.
 *
 * @returns the transcript as it is now: times are TIME, blank lines are dropped, and `<no newline>` stands where an output
 *          ends without one
 */
async function play(transcript: string, options: PlayerOptions): Promise<string> {
  const player = new Player(options)
  const shown: string[] = []
  for (const line of transcript.split('\n')) {
    if (line.startsWith('#')) shown.push(`${line}\n`)
    if (line.startsWith('$ ')) shown.push(`${line}\n`, await player.line(line.slice(2)))
  }
  return shown.join('')
}

class Player {
  readonly #plane: ControlPlane
  readonly #cwd: string
  readonly #definitions: string

  constructor({ plane, cwd }: PlayerOptions) {
    this.#plane = plane
    this.#cwd = cwd
    this.#definitions = join(cwd, 'mdevctl.d')
  }

  async line(line: string): Promise<string> {
    const json = /^json: ?(.*)$/.exec(line)?.[1]
    return json === undefined ? this.#commands(line) : this.#json(json)
  }

  async #commands(line: string): Promise<string> {
    let shown = ''
    let code = 0
    for (const part of line.match(PARTS) ?? []) {
      const played = await this.#command(withUuids(part.trim()))
      shown += played.stderr + played.stdout
      code = played.code
    }
    return ended(normalised(shown)) + (code === 0 ? '' : `[exit status ${code}]\n`)
  }

  async #command(command: string): Promise<Played> {
    const [, program, args = '', redirection = ''] = VERB.exec(command) ?? []
    if (program === undefined) return this.#shell(command)
    const words = wordsOf(args)
    const played = await this.#mdevctl(program === 'lsmdev' ? ['list', ...words] : words)
    if (redirection === '') return played
    const { stdout } = this.#shell(`cat ${redirection}`, played.stdout)
    return { ...played, stdout }
  }

  /** A text as a file, and the definition that comes of it. */
  async #json(text: string): Promise<string> {
    writeFileSync(join(this.#cwd, 'text.json'), text)
    const options = ['-p', 'json', '-u', DEFINED_BY_JSON]
    const { stderr, code } = await this.#mdevctl(['define', '--jsonfile', 'text.json', ...options])
    const shown = `${normalised(stderr)}[exit status ${code}]\n`
    if (code !== 0) return shown
    const { stdout } = this.#shell(`cat ${join(this.#definitions, 'json', DEFINED_BY_JSON)}`)
    await this.#mdevctl(['undefine', '-u', DEFINED_BY_JSON])
    return `${shown}${stdout}<end>\n`
  }

  async #mdevctl(args: readonly string[]): Promise<Played> {
    const before = process.cwd()
    process.chdir(this.#cwd)
    try {
      const played = await mdevctl(args, this.#plane)
      if (played.code === 0) assert.match(played.stderr, /^(\[.*\n)*$/) // warnings alone
      else assert.equal(played.stdout, '')
      return played
    } finally {
      process.chdir(before)
    }
  }

  #shell(command: string, input = ''): Played {
    const env = { ...process.env, M: this.#definitions, LC_ALL: 'C' }
    const { stdout, stderr, status } = spawnSync('sh', ['-c', command], {
      cwd: this.#cwd,
      env,
      input,
      encoding: 'utf8',
    })
    assert.equal(stderr, '', command)
    return { stdout, stderr, code: status ?? 1 }
  }
}

/** `$(u 1)` as the transcript has it. */
function withUuids(command: string): string {
  return command.replaceAll(/\$\(u (\w+)\)/g, (_all, number: string) => {
    const digits = number.padStart(8, '0')
    return `${digits}-0000-4000-8000-0000${digits}`
  })
}

function wordsOf(text: string): readonly string[] {
  return [...text.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word)
}

function normalised(shown: string): string {
  return shown.replaceAll(/^\[\S+Z WARN {2}(\S+)\]/gm, '[TIME WARN $1]').replaceAll(/\n{2,}/g, '\n')
}

function ended(shown: string): string {
  return shown === '' || shown.endsWith('\n') ? shown : `${shown}<no newline>\n`
}
