/** How a check ends other than by passing. */

/** The server does not do what the rule says. */
export class Violation extends Error {
  readonly expected: string
  readonly got: string

  constructor(expected: string, got: string) {
    super(`expected ${expected}; got ${got}`)
    this.name = 'Violation'
    this.expected = expected
    this.got = got
  }
}

/** The check says nothing about this server. */
export class Skip extends Error {
  constructor(reason: string) {
    super(reason)
    this.name = 'Skip'
  }
}
