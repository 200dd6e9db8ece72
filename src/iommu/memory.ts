/** What the memory behind a map offers, whichever way it is reached. */
import type { MappedMemory } from './mapped-memory.ts'

/** Nothing where it has been done already, else a promise of it. */
export type Done = void | Promise<void>

/** Memory that only the client itself can reach, by IOVA. */
export interface RemoteMemory {
  read(iova: number, target: Uint8Array): Promise<void>
  write(iova: number, source: Uint8Array): Promise<void>
}

/** Memory that is reached by copying alone; offsets and lengths are inside its map, which the container has checked. */
export interface CopiedMemory {
  readonly mapped: false
  /** Why there is no view of it. */
  readonly noView: string
  /** Done on return, or when what is returned resolves. */
  read(offset: number, target: Uint8Array): Done
  write(offset: number, source: Uint8Array): Done
}

export type Memory = MappedMemory | CopiedMemory
