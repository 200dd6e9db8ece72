/** `mdevkit` with arguments, in a process of its own, until it ends. */
import { type Ended, Mdevkit, type RunOptions } from '../support/mdevkit.ts'

export async function cli(args: readonly string[], options: RunOptions): Promise<Ended> {
  await using run = await Mdevkit.start(args, options)
  return await run.ended // before the end of the scope kills it
}
