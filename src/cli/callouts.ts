/** Scripts that mdevctl's verbs ask before and after what they do, as `mdevctl` itself runs them. */
import { spawn } from 'node:child_process'
import { accessSync, constants, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Definition } from '../http/model.ts'
import { definitionJson } from '../http/model.ts'
import { Refusal } from './mdevctl-refusal.ts'
import type { Warn } from './mdevctl-warn.ts'

export type CalloutAction = 'define' | 'undefine' | 'modify' | 'start' | 'stop'

/** What a script is told of. */
export interface CalloutDevice {
  readonly uuid: string
  readonly parent: string
  readonly definition: Definition
}

export interface CalloutsOptions {
  /** Directories with `callouts` and `notifiers` in them, in the order in which they count. */
  readonly directories: readonly string[]
  readonly warn: Warn
  /** Standard error. */
  readonly err: (text: string) => void
  /** What a script may take; then it is killed, and has failed. */
  readonly timeoutMs?: number
}

/** Where mdevctl looks for them. @param root in front of all, of MDEVCTL_ENV_ROOT */
export function calloutDirectories(root = process.env['MDEVCTL_ENV_ROOT'] ?? '/'): string[] {
  return ['usr/lib/mdevctl/scripts.d', 'etc/mdevctl.d/scripts.d'].map((path) => join(root, path))
}

const TIMEOUT_MS = 30_000
/** A script's exit status: the device is none of its. */
const NOT_MINE = 2
const CAPABILITIES = JSON.stringify({
  provides: {
    version: 2,
    actions: ['start', 'stop', 'define', 'undefine', 'modify', 'attributes', 'capabilities'],
    events: ['pre', 'post', 'notify', 'get', 'live'],
  },
})

type CalloutState = 'none' | 'success' | 'failure'

interface Call {
  readonly event: 'get' | 'pre' | 'post' | 'notify'
  readonly action: CalloutAction | 'capabilities'
  readonly state: CalloutState
  readonly input: string
}

export class Callouts {
  readonly #options: CalloutsOptions

  constructor(options: CalloutsOptions) {
    this.#options = options
  }

  /**
   * Does `work` between the scripts' `pre` and `post`, and notifies.
   *
   * @param force goes on where a script refuses
   * @throws Refusal a script refuses · what `work` throws
   */
  async around<T>(
    action: CalloutAction,
    device: CalloutDevice,
    force: boolean,
    work: () => Promise<T>,
  ): Promise<T> {
    const scripts = this.#scripts('callouts')
    const input = JSON.stringify(definitionJson(device.definition))
    const call = (script: string, event: Call['event'], state: CalloutState) =>
      this.#run(script, device, { event, action, state, input: event === 'notify' ? '' : input })
    const notify = async (state: CalloutState): Promise<void> => {
      for (const script of this.#scripts('notifiers')) await call(script, 'notify', state)
    }

    let chosen: string | undefined
    try {
      chosen = await this.#choose(scripts, action, device, (script) => call(script, 'pre', 'none'))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (!force) {
        await notify('none')
        throw error
      }
      const text = `Forcing operation '${action}' despite callout failure. Error was: ${error.message}`
      this.#options.warn(text, 'mdevctl::callouts')
    }
    const after = async (state: 'success' | 'failure'): Promise<void> => {
      for (const script of chosen === undefined ? scripts : [chosen]) {
        if ((await call(script, 'post', state)) !== NOT_MINE) break
      }
      await notify(state)
    }
    try {
      const result = await work()
      await after('success')
      return result
    } catch (error) {
      await after('failure')
      throw error
    }
  }

  /** @returns the script whose device it is, if there is one @throws Refusal it does not want it, or cannot do it */
  async #choose(
    scripts: readonly string[],
    action: CalloutAction,
    device: CalloutDevice,
    pre: (script: string) => Promise<number>,
  ): Promise<string | undefined> {
    const versioned = await this.#versioned(scripts, device)
    if (versioned !== undefined) {
      const { script, supports } = versioned
      if (!supports.actions.includes(action)) {
        const name = `${action.charAt(0).toUpperCase()}${action.slice(1)}`
        throw new Refusal(`Script ${JSON.stringify(script)} does not support action '${name}'`)
      }
    }
    for (const script of versioned === undefined ? scripts : [versioned.script]) {
      const status = await pre(script)
      if (status === 0) return script
      if (status !== NOT_MINE)
        throw new Refusal(`Script '${JSON.stringify(script)}' failed with status '${status}'`)
    }
    return undefined
  }

  /** The script that says which actions it can do; every script is asked. */
  async #versioned(scripts: readonly string[], device: CalloutDevice) {
    let found: { script: string; supports: { actions: readonly unknown[] } } | undefined
    for (const script of scripts) {
      let said = ''
      const call = {
        event: 'get',
        action: 'capabilities',
        state: 'none',
        input: CAPABILITIES,
      } as const
      const status = await this.#run(script, device, call, (text) => (said = text))
      const supports = status === 0 ? supportsIn(said) : undefined
      if (supports !== undefined) found ??= { script, supports }
    }
    return found
  }

  /** Those that can be run, by name in each directory. */
  #scripts(kind: 'callouts' | 'notifiers'): readonly string[] {
    return this.#options.directories.flatMap((directory) =>
      namesIn(join(directory, kind))
        .toSorted()
        .map((name) => join(directory, kind, name))
        .filter(isExecutable),
    )
  }

  /** @returns its exit status; 255 where it could not be run, or took too long */
  async #run(
    script: string,
    { uuid, parent, definition }: CalloutDevice,
    { event, action, state, input }: Call,
    onOutput: (text: string) => void = () => {},
  ): Promise<number> {
    const { err, timeoutMs = TIMEOUT_MS } = this.#options
    const words = ['-t', definition.type, '-e', event, '-a', action, '-s', state]
    const child = spawn(script, [...words, '-u', uuid, '-p', parent], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    // not by spawn's own time-out, which goes on where nothing could be spawned
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      child.stdout.destroy() // what it has started may have them open
      child.stderr.destroy()
    }, timeoutMs)
    const status = new Promise<number>((resolve) => {
      child.on('error', () => resolve(255))
      child.on('close', (code) => resolve(code ?? 255))
    })
    child.stdin.on('error', () => {}) // it need not read what it is told
    child.stdin.end(input)
    const cutOff = () => ''
    const [output, complaints, code] = await Promise.all([
      text(child.stdout).catch(cutOff),
      text(child.stderr).catch(cutOff),
      status,
    ])
    clearTimeout(timer)
    onOutput(output)
    for (const line of complaints.split('\n'))
      if (line !== '') err(`${basename(script)}: ${line}\n`)
    return code
  }
}

function supportsIn(output: string): { actions: readonly unknown[] } | undefined {
  try {
    const { supports } = JSON.parse(output) as { supports?: { actions?: unknown } }
    return Array.isArray(supports?.actions) ? { actions: supports.actions } : undefined
  } catch {
    return undefined
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // there are none
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
