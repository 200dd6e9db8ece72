/** A definition given as a file, with `--jsonfile`. */
import { readFileSync } from 'node:fs'
import { type Definition, parseDefinition } from '../http/model.ts'
import { ErrnoError } from '../lib/errno.ts'
import { jsonFault } from '../lib/json-fault.ts'
import { osError } from './mdevctl-os-error.ts'
import { Refusal } from './mdevctl-refusal.ts'

/**
 * The text of the file.
 *
 * @param what `file` or `jsonfile`, as the verb calls it
 * @throws Refusal it cannot be read
 */
export function readJsonFile(path: string, what: 'file' | 'jsonfile'): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new Refusal(`Unable to read ${what} ${JSON.stringify(path)}`, {
      cause: osError(error),
      origin: error,
    })
  }
}

/** @throws Refusal it is no JSON, in the words of mdevctl's parser */
export function mustBeJson(text: string): void {
  const fault = jsonFault(text)
  if (fault !== undefined) throw new Refusal(fault)
}

/**
 * The definition in it, without keys of others than mdevctl: those it drops here, and so do we.
 *
 * @throws Refusal it is none, in mdevctl's words
 */
export function definitionOf(json: string): Definition {
  try {
    const { type, start, attributes } = parseDefinition(json)
    return { type, start, attributes }
  } catch (error) {
    throw error instanceof ErrnoError ? new Refusal(error.message) : error
  }
}
