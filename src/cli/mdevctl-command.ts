/** A command whose command line is read as mdevctl reads it: by clap's rules, where commander has others. */
import { Command, type Option, type ParseOptionsResult } from 'commander'
import { UsageError } from './mdevctl-refusal.ts'
import { checkUsage, type UsageRules } from './mdevctl-usage.ts'

const HELP = new Set(['-h', '--help'])

/** An option as written: `--name`, `--name=value`, or a letter behind a hyphen, with what follows it there. */
interface Occurrence {
  readonly name: string
  /** What is joined to it. */
  readonly joined?: string
}

export class MdevctlCommand extends Command {
  readonly #rules: UsageRules

  constructor(name: string, rules: UsageRules = {}) {
    super(name)
    this.#rules = rules
  }

  /**
   * What begins with a hyphen is no value unless it is joined to its option, and an option comes once. Commander gets a
   * command line that is checked, and that both understand alike.
   *
   * @throws UsageError
   */
  override parseOptions(args: string[]): ParseOptionsResult {
    const given = new Map<Option, string>()
    const operands: string[] = []
    const rest = [...args]
    for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
      if (HELP.has(arg)) return super.parseOptions([arg])
      if (arg === '--') {
        operands.push(...rest.splice(0))
      } else if (isOption(arg)) {
        for (const occurrence of this.#occurrences(arg)) this.#take(occurrence, rest, given)
      } else {
        operands.push(arg)
      }
      const extra = operands[this.registeredArguments.length]
      if (extra !== undefined) throw unexpected(extra)
    }
    const argumentNames = this.registeredArguments.map((argument) => argument.name())
    const names = [...given.keys()].map((option) => option.name())
    names.push(...argumentNames.slice(0, operands.length))
    checkUsage(this.#rules, names, (name) => this.#shown(name))
    return super.parseOptions([...given.values(), '--', ...operands])
  }

  #occurrences(arg: string): readonly Occurrence[] {
    if (arg.startsWith('--')) {
      const at = arg.indexOf('=')
      return [at < 0 ? { name: arg } : { name: arg.slice(0, at), joined: arg.slice(at + 1) }]
    }
    const occurrences: Occurrence[] = []
    for (let at = 1; at < arg.length; at++) {
      const name = `-${arg[at]}`
      const joined = arg.slice(at + 1)
      if (joined !== '' && this.#find(name)?.required === true)
        return [...occurrences, { name, joined: joined.replace(/^=/, '') }]
      occurrences.push({ name })
    }
    return occurrences
  }

  /** Notes an option, as commander is to see it; its value is taken from `rest` unless it is joined to it. */
  #take({ name, joined }: Occurrence, rest: string[], given: Map<Option, string>): void {
    const option = this.#find(name)
    if (option === undefined) throw unexpected(name)
    const shown = shownOption(option)
    if (given.has(option))
      throw new UsageError(`the argument '${shown}' cannot be used multiple times`)
    if (option.required) {
      given.set(option, `${option.long}=${joined ?? this.#value(shown, rest)}`)
    } else if (joined === undefined) {
      given.set(option, `${option.long}`)
    } else {
      throw new UsageError(
        `unexpected value '${joined}' for '${shown}' found; no more were expected`,
      )
    }
  }

  #value(shown: string, rest: string[]): string {
    const next = rest.shift()
    if (next !== undefined && !isOption(next)) return next
    const written = next === undefined || next === '--' ? [] : this.#occurrences(next)
    const stranger = written.find(({ name }) => !this.#find(name))
    if (stranger !== undefined) throw unexpected(stranger.name)
    throw new UsageError(`a value is required for '${shown}' but none was supplied`)
  }

  #find(name: string): Option | undefined {
    return this.options.find(({ short, long }) => name === short || name === long)
  }

  #shown(name: string): string {
    const option = this.options.find((each) => each.name() === name)
    return option === undefined ? `<${name}>` : shownOption(option)
  }
}

function isOption(arg: string): boolean {
  return arg.length > 1 && arg.startsWith('-')
}

/** `--uuid <UUID>` */
function shownOption({ flags }: Option): string {
  return flags.replace(/^-\w, /, '')
}

function unexpected(arg: string): UsageError {
  return new UsageError(`unexpected argument '${arg}' found`)
}
