/** Boots a machine by its firmware alone, from a disk. */
import { once } from 'node:events'
import { ErrnoError } from '../../src/lib/errno.ts'
import { spawnLeashed } from '../../vm/leash.ts'
import type { VmAssets } from '../../vm/prepare.ts'
import { PrivateDirectory } from '../../vm/private-directory.ts'

const PATIENCE_MS = 240_000

export interface FirmwareMachine {
  readonly assets: VmAssets
  readonly memoryMiB: number
  /** Further arguments for QEMU. */
  readonly devices: readonly string[]
}

/**
 * Ends the machine once it has said `last`.
 *
 * @returns all that it has written to its serial port
 * @throws EPIPE, ETIMEDOUT it has ended, or gone silent, before
 */
export async function bootByFirmware(machine: FirmwareMachine, last: string): Promise<string> {
  const { assets, memoryMiB, devices } = machine
  const { argv, env } = assets.qemu
  const parts = [
    ['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg', '-m', `${memoryMiB}M`],
    ['-object', `memory-backend-memfd,id=mem,size=${memoryMiB}M,share=on`],
    ['-machine', 'q35,memory-backend=mem'],
    ['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
  ]
  const leashed = await spawnLeashed([...argv, ...parts.flat(), ...devices], {
    env,
    directory: await PrivateDirectory.create('mdevkit-boot-'),
  })
  const { child } = leashed
  const exited = once(child, 'exit')
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    child.kill('SIGKILL')
  }, PATIENCE_MS)
  let output = ''
  let complaints = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (complaints += chunk))
  try {
    for await (const chunk of child.stdout!.setEncoding('utf8')) {
      output += chunk as string
      if (output.includes(last)) return output
    }
  } finally {
    clearTimeout(timer)
    child.kill('SIGKILL')
    await exited
    await leashed.release()
  }
  const code = isLate ? 'ETIMEDOUT' : 'EPIPE'
  throw new ErrnoError(
    code,
    `firmware: no ${JSON.stringify(last)} in:\n${output.slice(-2000)}\n${complaints}`,
  )
}
