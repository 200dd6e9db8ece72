/** Which engine carries out file requests: io_uring where this process may use it, else the thread pool. */
import type { FileEngine } from './file-request.ts'
import { RingEngine } from './ring-engine.ts'
import { ThreadEngine } from './thread-engine.ts'

export type EngineName = FileEngine['name']

const engines = new Map<EngineName, FileEngine>()
let best: FileEngine | undefined

/**
 * The engine of this process, made at its first use.
 *
 * @param name the one to use; the best there is unless given
 * @throws EPERM, ENOSYS… no io_uring, where that was asked for
 */
export function fileEngine(name?: EngineName): FileEngine {
  if (name !== undefined) return engineNamed(name)
  return (best ??= bestEngine())
}

function bestEngine(): FileEngine {
  try {
    return engineNamed('io_uring')
  } catch {
    return engineNamed('threads')
  }
}

function engineNamed(name: EngineName): FileEngine {
  let engine = engines.get(name)
  if (engine === undefined) {
    engine = name === 'io_uring' ? new RingEngine() : new ThreadEngine()
    engines.set(name, engine)
  }
  return engine
}
