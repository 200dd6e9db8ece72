/** Which servers there are, and starting them: the bare C echo, and hosts of this build and of others. */
import { fileURLToPath } from 'node:url'
import type { CPrograms } from './c-programs.ts'
import type { Bench } from './part.ts'
import { type Placement, processorsOf } from './pinning.ts'
import { type Running, Server, type Served, type ServerSpec } from './server.ts'

export const ECHO = 'C echo'

/** @param flags of bench/c/echo.c */
export function echoServer(
  programs: CPrograms,
  name = ECHO,
  ...flags: readonly string[]
): ServerSpec {
  return {
    name,
    placements: flags.includes('--spin') ? ['split'] : ['split', 'same'],
    keepsWrites: false,
    command: (directory) => [programs.echo, `${directory}/s`, ...flags],
  }
}

/** This build's. */
export const HOST_PROGRAM = fileURLToPath(new URL('./host.js', import.meta.url))

/**
 * @param file  a build's bench/host.js
 * @param flags of it
 */
export function hostServer(
  name: string,
  file: string = HOST_PROGRAM,
  ...flags: readonly string[]
): ServerSpec {
  return {
    name,
    placements: ['split', 'same'],
    keepsWrites: true,
    command: (directory, { devices, device }) => [
      process.execPath,
      '--expose-gc',
      file,
      directory,
      String(devices),
      device,
      ...flags,
    ],
  }
}

/** Starts each server of `specs` that can be measured at `placement`, on its processor; they end with `running`. */
export async function startServers(
  running: Running,
  specs: readonly ServerSpec[],
  placement: Placement,
  bench: Bench,
  served: Partial<Served> = {},
): Promise<Server[]> {
  const { server: processor } = processorsOf(placement, bench.allowed)
  const servers: Server[] = []
  for (const spec of specs) {
    if (!spec.placements.includes(placement)) continue
    const options = { ...served, directory: bench.directory, processor }
    servers.push(running.add(await Server.start(spec, options)))
  }
  return servers
}
