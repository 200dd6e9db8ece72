/** What was measured on. */
import { arch, cpus, release } from 'node:os'

/** The machine in one line. */
export function machineLine(date: Date): string {
  const processors = cpus()
  return (
    `${processors[0]?.model.trim()}, ${processors.length} processors, ${arch()}, ` +
    `Linux ${release()}, Node ${process.version}, ${date.toISOString().slice(0, 10)}`
  )
}
