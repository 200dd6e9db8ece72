/** What a check of `mdevkit doctor` is told, and what it says. */

/** `missing`: nothing works without it. `warn`: something does not. */
export interface Finding {
  readonly state: 'ok' | 'warn' | 'missing'
  readonly what: string
  /** A command that helps, for Debian. */
  readonly remedy?: string
}

export interface DoctorSurroundings {
  /** The run-time root. */
  readonly root: string
  /** Of this mdevkit. */
  readonly version: string
  /** Of this user. */
  readonly home: string
  /** Directories of programs. */
  readonly path: string
}
