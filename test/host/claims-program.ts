/**
 * Claims things for a test, in a process of its own. Answers every message with what came of it; what it has claimed it
 * holds until it is told to release all, or ends.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FileClaims } from '../../src/host/file-claims.ts'
import { prepareRoot, runtimeRoot } from '../../src/host/paths.ts'
import { ErrnoError, errnoCode, errnoOf } from '../../src/lib/errno.ts'
import type { Claim } from '../../src/mdev/claims.ts'
import { listenUnix } from '../../src/os/unix-socket.ts'

export type Request =
  | { readonly verb: 'become'; readonly uid: number }
  | { readonly verb: 'prepareRoot'; readonly root: string }
  | { readonly verb: 'runtimeRoot'; readonly environment: NodeJS.ProcessEnv }
  | { readonly verb: 'claimUuid'; readonly root: string; readonly uuid: string }
  | { readonly verb: 'claimGroup'; readonly root: string }
  | { readonly verb: 'claimParent'; readonly root: string; readonly wanted: string }
  | { readonly verb: 'claimExactParent'; readonly root: string; readonly wanted: string }
  | { readonly verb: 'listen'; readonly path: string }
  | {
      readonly verb: 'contend'
      readonly root: string
      readonly uuid: string
      readonly times: number
    }
  | { readonly verb: 'release' }

export interface Answer {
  readonly value?: unknown
  /** Name of the errno, and message, of what was thrown. */
  readonly code?: string
  readonly message?: string
}

const held: Claim<unknown>[] = []

function hold<T>(claim: Claim<T>): T {
  held.push(claim)
  return claim.value
}

/**
 * Takes a UUID again and again, from others that do the same, and leaves a file in its directory each time.
 *
 * @returns what was not as it should be
 */
function contend(root: string, uuid: string, times: number): string[] {
  const claims = new FileClaims(root)
  const faults: string[] = []
  for (let taken = 0; taken < times;) {
    let claim: Claim<string>
    try {
      claim = claims.claimUuid(uuid)
    } catch (error) {
      if (error instanceof ErrnoError && error.code === 'EEXIST') continue
      throw error
    }
    taken++
    const expect = (names: readonly string[]) => {
      const found = readdirSync(claim.value).toSorted()
      if (found.join() !== names.join()) faults.push(`[${found.join()}], not [${names.join()}]`)
    }
    expect(['lock'])
    const files = ['a', 'cntrl', 'z']
    for (const name of files) writeFileSync(join(claim.value, name), `${process.pid}`)
    expect(['a', 'cntrl', 'lock', 'z'])
    for (const name of files) {
      const owner = readFileSync(join(claim.value, name), 'utf8')
      if (owner !== `${process.pid}`) faults.push(`${name} is of ${owner}`)
    }
    claim.release()
  }
  return faults
}

function run(request: Request): unknown {
  switch (request.verb) {
    case 'become':
      // who is nobody special already stays that
      if (process.geteuid?.() !== 0) return
      process.setgroups?.([])
      process.setgid?.(request.uid)
      return process.setuid?.(request.uid)
    case 'prepareRoot':
      return prepareRoot(request.root)
    case 'runtimeRoot':
      return runtimeRoot(request.environment)
    case 'claimUuid':
      return hold(new FileClaims(request.root).claimUuid(request.uuid))
    case 'claimGroup':
      return hold(new FileClaims(request.root).claimGroup())
    case 'claimExactParent':
      return hold(new FileClaims(request.root).claimExactParent(request.wanted))
    case 'claimParent':
      return hold(new FileClaims(request.root).claimParent(request.wanted))
    case 'listen':
      return listenUnix(request.path, 0o600)
    case 'contend':
      return contend(request.root, request.uuid, request.times)
    case 'release':
      for (const claim of held.splice(0)) claim.release()
      return
  }
}

process.on('message', (request: Request) => {
  let answer: Answer
  try {
    answer = { value: run(request) }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'not an error'
    answer = { code: errnoCode(errnoOf(error)), message }
  }
  process.send?.(answer)
})
