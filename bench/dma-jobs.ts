/** What mdevkit's side of guest memory is asked to do: the jobs of bench/c/dma.c, and a few of its own. */
import type { Dma } from '../src/index.ts'
import { copy, message, pin, touch } from './dma-access-jobs.ts'
import { fileAsync, fileSync } from './dma-file-jobs.ts'
import { lookUp, map, mapFile } from './dma-map-jobs.ts'

/** The guest, as the jobs know it. */
export interface GuestMemory {
  /** What a driver has. */
  readonly dma: Dma
  /** The file that it is. */
  readonly path: string
  /** Bytes. */
  readonly size: number
}

/** @param words what the job's line says besides its name; @returns what is answered */
export type Job = (guest: GuestMemory, batches: number, words: readonly string[]) => Promise<object>

export const JOBS: Readonly<Record<string, Job>> = {
  touch,
  copy,
  pin,
  message,
  'look-up': lookUp,
  map,
  'map-file': mapFile,
  'file-sync': fileSync,
  'file-async': fileAsync,
}
