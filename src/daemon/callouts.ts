/** mdevctl's callout and notifier scripts: who is asked before something is done to an mdev, and who is told after. */
import { basename, join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'
import { jsonFault } from '../lib/json-fault.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import { type Definition, definitionJson, parseDefinition } from '../mdev/definition.ts'
import { NOT_MINE, runScript, scriptsIn } from './callout-script.ts'

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
  /** Told that a refusal was passed over. */
  readonly onForced: (text: string) => void
  /** Told what a script says on standard error, a line at a time. */
  readonly onLine: (script: string, line: string) => void
  /** What a script may take; then it is killed, and has failed. */
  readonly timeoutMs?: number
}

/** A script does not want it. The message is mdevctl's. */
export class CalloutRefusal extends ErrnoError {
  constructor(message: string) {
    super('ECANCELED', message)
  }
}

/** Where mdevctl looks for them. @param root in front of all, of MDEVCTL_ENV_ROOT */
export function calloutDirectories(root = process.env['MDEVCTL_ENV_ROOT'] ?? '/'): string[] {
  return ['usr/lib/mdevctl/scripts.d', 'etc/mdevctl.d/scripts.d'].map((path) => join(root, path))
}

const CAPABILITIES = JSON.stringify({
  provides: {
    version: 2,
    actions: ['start', 'stop', 'define', 'undefine', 'modify', 'attributes', 'capabilities'],
    events: ['pre', 'post', 'notify', 'get', 'live'],
  },
})
/** Scripts that run at a time: a thousand mdevs may be started at once. */
const MAX_RUNNING = 8

type CalloutState = 'none' | 'success' | 'failure'

interface Call {
  readonly event: 'get' | 'pre' | 'post' | 'notify' | 'live'
  readonly action: CalloutAction | 'capabilities' | 'attributes'
  readonly state: CalloutState
  readonly input: string
}

/** A script that says what it can do; no other one is asked then. */
interface Versioned {
  readonly script: string
  readonly actions: readonly unknown[]
  readonly events: readonly unknown[]
}

export class Callouts {
  readonly #options: CalloutsOptions
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(options: CalloutsOptions) {
    this.#options = options
  }

  /**
   * Does `work` between the scripts' `pre` and `post`, and notifies.
   *
   * @param force goes on where a script refuses
   * @throws CalloutRefusal a script refuses · what `work` throws
   */
  async around<T>(
    action: CalloutAction,
    device: CalloutDevice,
    force: boolean,
    work: () => Promise<T>,
  ): Promise<T> {
    const scripts = this.#scripts('callouts')
    const input = inputOf(device)
    const call = async (script: string, event: 'pre' | 'post', state: CalloutState) =>
      (await this.#run(script, device, { event, action, state, input })).status

    let chosen: string | undefined
    try {
      chosen = await this.#choose(scripts, action, device, (script) => call(script, 'pre', 'none'))
    } catch (error) {
      if (!(error instanceof CalloutRefusal)) throw error
      if (!force) {
        await this.#notify(device, action, 'none')
        throw error
      }
      this.#options.onForced(
        `Forcing operation '${action}' despite callout failure. Error was: ${error.message}`,
      )
    }
    const after = async (state: 'success' | 'failure'): Promise<void> => {
      for (const script of chosen === undefined ? scripts : [chosen]) {
        if ((await call(script, 'post', state)) !== NOT_MINE) break
      }
      await this.#notify(device, action, state)
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

  /**
   * Tells a script that wants to hear of it that settings of an active mdev are to change.
   *
   * @param device with the settings that it is to have
   * @returns whether there is such a script @throws CalloutRefusal it does not want that
   */
  async live(device: CalloutDevice): Promise<boolean> {
    const found = await this.#versioned(this.#scripts('callouts'), device)
    if (found?.events.includes('live') !== true || !found.actions.includes('modify')) return false
    const call = { event: 'live', action: 'modify', state: 'none', input: inputOf(device) } as const
    const { status } = await this.#run(found.script, device, call)
    await this.#notify(device, 'modify', 'none')
    if (status !== 0) throw failed(found.script, status)
    return true
  }

  /**
   * The settings of an active mdev, as the script has them that knows it; undefined where none does.
   *
   * @throws CalloutRefusal it fails, or what it prints are none
   */
  async attributesOf(device: CalloutDevice): Promise<AttributeTexts | undefined> {
    const scripts = this.#scripts('callouts')
    const found = await this.#versioned(scripts, device)
    if (found !== undefined && !found.actions.includes('attributes')) return undefined
    const call = { event: 'get', action: 'attributes', state: 'none', input: '' } as const
    for (const script of found === undefined ? scripts : [found.script]) {
      const { status, stdout } = await this.#run(script, device, call)
      if (status === 0) return stdout.trim() === '' ? undefined : attributesIn(stdout, script)
      if (status !== NOT_MINE) throw failed(script, status)
    }
    return undefined
  }

  async #notify(device: CalloutDevice, action: CalloutAction, state: CalloutState): Promise<void> {
    for (const script of this.#scripts('notifiers'))
      await this.#run(script, device, { event: 'notify', action, state, input: '' })
  }

  /** @returns the script whose device it is, if there is one @throws CalloutRefusal it does not want it, or cannot do it */
  async #choose(
    scripts: readonly string[],
    action: CalloutAction,
    device: CalloutDevice,
    pre: (script: string) => Promise<number>,
  ): Promise<string | undefined> {
    const versioned = await this.#versioned(scripts, device)
    if (versioned !== undefined && !versioned.actions.includes(action)) {
      const name = `${action.charAt(0).toUpperCase()}${action.slice(1)}`
      const script = JSON.stringify(versioned.script)
      throw new CalloutRefusal(`Script ${script} does not support action '${name}'`)
    }
    for (const script of versioned === undefined ? scripts : [versioned.script]) {
      const status = await pre(script)
      if (status === 0) return script
      if (status !== NOT_MINE) throw failed(script, status)
    }
    return undefined
  }

  /** Every script is asked. */
  async #versioned(
    scripts: readonly string[],
    device: CalloutDevice,
  ): Promise<Versioned | undefined> {
    let found: Versioned | undefined
    for (const script of scripts) {
      const call = {
        event: 'get',
        action: 'capabilities',
        state: 'none',
        input: CAPABILITIES,
      } as const
      const { status, stdout } = await this.#run(script, device, call)
      if (status === 0) found ??= versionedIn(stdout, script)
    }
    return found
  }

  #scripts(kind: 'callouts' | 'notifiers'): readonly string[] {
    return this.#options.directories.flatMap((directory) => scriptsIn(join(directory, kind)))
  }

  async #run(
    script: string,
    { uuid, parent, definition }: CalloutDevice,
    { event, action, state, input }: Call,
  ): Promise<{ readonly status: number; readonly stdout: string }> {
    const { onLine, timeoutMs } = this.#options
    const words = ['-t', definition.type, '-e', event, '-a', action, '-s', state]
    await this.#turn()
    try {
      const args = [...words, '-u', uuid, '-p', parent]
      const { status, stdout, stderr } = await runScript(script, args, input, timeoutMs)
      for (const line of stderr.split('\n')) if (line !== '') onLine(basename(script), line)
      return { status, stdout }
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }

  /** Resolves when one more may run. */
  async #turn(): Promise<void> {
    while (this.#running >= MAX_RUNNING)
      await new Promise<void>((resolve) => void this.#waiting.push(resolve))
    this.#running++
  }
}

/** What mdevctl has of it, and nothing of others. */
function inputOf({ definition: { type, start, attributes } }: CalloutDevice): string {
  return JSON.stringify(definitionJson({ type, start, attributes }))
}

function failed(script: string, status: number): CalloutRefusal {
  return new CalloutRefusal(`Script '${JSON.stringify(script)}' failed with status '${status}'`)
}

/** What it says has the form of a definition's. */
function attributesIn(output: string, script: string): AttributeTexts {
  try {
    const attrs: unknown = JSON.parse(output)
    return parseDefinition({ mdev_type: '-', start: 'manual', attrs }).attributes
  } catch (error) {
    const why = error instanceof ErrnoError ? error.message : (jsonFault(output) ?? 'no JSON')
    throw new CalloutRefusal(`Script '${JSON.stringify(script)}' gave no attributes: ${why}`)
  }
}

function versionedIn(output: string, script: string): Versioned | undefined {
  try {
    const { supports } = JSON.parse(output) as {
      supports?: { actions?: unknown; events?: unknown }
    }
    if (!Array.isArray(supports?.actions)) return undefined
    const events: unknown[] = Array.isArray(supports.events) ? supports.events : []
    return { script, actions: supports.actions, events }
  } catch {
    return undefined
  }
}
