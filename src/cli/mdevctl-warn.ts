/** mdevctl's warnings: log lines on standard error. */

/** @param module of mdevctl, `mdevctl` unless given */
export type Warn = (text: string, module?: string) => void

/** Levels of MDEVCTL_LOG at which warnings are not shown. */
const QUIET = new Set(['error', 'off'])

/** Writes `[2026-01-01T00:00:00Z WARN  mdevctl] text` lines, unless MDEVCTL_LOG asks for silence. */
export function createWarn(
  write: (text: string) => void,
  environment: NodeJS.ProcessEnv = process.env,
): Warn {
  if (QUIET.has(environment['MDEVCTL_LOG'] ?? '')) return () => {}
  return (text, module = 'mdevctl') => {
    const time = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
    write(`[${time} WARN  ${module}] ${text}\n`)
  }
}
