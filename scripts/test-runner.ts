/**
 * Runs compiled test files with node:test's `run()`, each in a process of its own, and counts what they did.
 *
 * Every file gets a `run()` of its own: its events then arrive as they happen, so a file in which nothing happens any
 * more is noticed, named and stopped. `run()` alone waits for it, and lets pass a file that exits before its tests end.
 */
import { readdirSync, readFileSync, existsSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { cutLines, describeFailure } from './test-failure.ts'

/** Files at a time: one more than a small machine has processors, as most of them wait now and then. */
const CONCURRENCY = 3

/** Files that boot machines, each of which keeps a processor busy. */
const BOOTS = /(^|\/)(demo|vm)\//

/** Of those, at a time. */
const MOST_BOOTS = 2

/** What takes longest begins first, so that it is not alone in the end; then machines, and others beside them. */
const LONGEST: readonly RegExp[] = [
  /vm\/lifecycle/,
  /(vm\/(dma|nvme-two|mtty|hotplug)|demo\/vm)\.test/,
  BOOTS,
  /cli\/run|host\/groups|vfio-user\/conformance/,
]

/** Lines of a failed file's own that are shown. */
const MOST_SAID = 15

/** Lines that all failures may take: of the report only its end may be kept. */
const MOST_FAILED_LINES = 150

const SUMMARY = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /

export interface RunnerOptions {
  /** Holds `test/` with the sources and `dist/test/` with what they were compiled to. */
  readonly root: string
  /** Only files whose path, source or compiled, contains one of these; none means all. */
  readonly filters: readonly string[]
  /** How long a file may go on with no test beginning or ending, so the most that one test may take. */
  readonly timeoutMs: number
  /** How long a file may go on when all its tests have ended. */
  readonly lingerMs: number
  readonly write: (text: string) => void
}

export interface Failure {
  /** Path from the root. */
  readonly file: string
  /** Titles from the outermost suite to the test; empty when the file itself failed. */
  readonly titles: readonly string[]
  readonly message: string
}

export interface Outcome {
  passed: number
  skipped: number
  readonly failures: Failure[]
}

/** What we read of the events of a TestsStream; its own types leave most of it `any`. */
export interface TestEvent {
  readonly type: string
  readonly data: {
    readonly name?: string
    readonly nesting?: number
    readonly message?: string
    readonly skip?: unknown
    readonly todo?: unknown
    readonly details?: { readonly type?: string; readonly error?: unknown }
  }
}

/**
 * The compiled test files below `root`, in order, that `filters` select. One whose source is gone is left out: the
 * compiler never deletes what it wrote.
 */
export function findTestFiles(root: string, filters: readonly string[] = []): string[] {
  const compiled = join(root, 'dist/test')
  if (!existsSync(compiled)) return []
  return readdirSync(compiled, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js'))
    .map((path) => ({
      file: join(compiled, path),
      source: join(root, 'test', path.replace(/js$/, 'ts')),
    }))
    .filter(({ source }) => existsSync(source))
    .filter(({ file, source }) => selected([relative(root, file), relative(root, source)], filters))
    .map(({ file }) => file)
    .toSorted()
}

function selected(names: readonly string[], filters: readonly string[]): boolean {
  return filters.length === 0 || filters.some((part) => names.some((name) => name.includes(part)))
}

/** Paths from the root, in the order in which they are begun. */
function inOrder(root: string, files: readonly string[]): string[] {
  const rank = (path: string) => {
    const index = LONGEST.findIndex((pattern) => pattern.test(path))
    return index < 0 ? LONGEST.length : index
  }
  return files.map((file) => relative(root, file)).toSorted((a, b) => rank(a) - rank(b))
}

/** Runs the files and reports in the format of node's spec reporter, then the failures, then the totals. */
export async function runTests(options: RunnerOptions): Promise<Outcome> {
  const files = findTestFiles(options.root, options.filters)
  const queue = inOrder(options.root, files)
  const outcome: Outcome = { passed: 0, skipped: 0, failures: [] }
  let booting = 0

  /** Undefined where only machines are left, and enough of them run: who takes those is still at work. */
  const take = (): string | undefined => {
    const index = queue.findIndex((path) => booting < MOST_BOOTS || !BOOTS.test(path))
    return index < 0 ? undefined : queue.splice(index, 1)[0]
  }
  const worker = async () => {
    for (let path = take(); path !== undefined; path = take()) {
      const boots = BOOTS.test(path)
      if (boots) booting++
      const one = await runFile(join(options.root, path), options)
      if (boots) booting--
      outcome.passed += one.passed
      outcome.skipped += one.skipped
      outcome.failures.push(...one.failures)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))

  if (outcome.passed + outcome.failures.length === 0) {
    const of = options.filters.length === 0 ? '' : ` that matches ${options.filters.join(' or ')}`
    outcome.failures.push({ file: 'dist/test', titles: [], message: `no test${of}` })
  }
  options.write(formatOutcome(outcome))
  return outcome
}

/** The end of the report; its last line is `N passed, N failed`. */
export function formatOutcome(outcome: Outcome): string {
  const each = Math.max(8, Math.floor(MOST_FAILED_LINES / (outcome.failures.length + 1)))
  const lines = outcome.failures.flatMap(({ file, titles, message }) => [
    [file, ...titles].join(' › '),
    ...cutLines(message.split('\n'), each).map((line) => `    ${line}`),
  ])
  if (lines.length > 0) lines.unshift('failed:')
  if (outcome.skipped > 0) lines.push(`${outcome.skipped} skipped or to do`)
  lines.push(`${outcome.passed} passed, ${outcome.failures.length} failed`)
  return `\n${lines.join('\n')}\n`
}

async function runFile(file: string, options: RunnerOptions): Promise<Outcome> {
  const name = relative(options.root, file)
  const began = performance.now()
  const tally = new Tally(file, name)
  const report: string[] = []
  const reporter = new spec()
  reporter.on('data', (text: unknown) => report.push(String(text)))

  const stop = new AbortController()
  let lastProgress = performance.now()
  const watchdog = setInterval(
    () => {
      const silentMs = performance.now() - lastProgress
      const stuck = tally.stuck(silentMs, options)
      if (stuck === undefined) return
      clearInterval(watchdog)
      tally.fail([], stuck)
      killProcessesOf(file)
      stop.abort() // for the case that the test's process is gone and one of its children holds our pipe
    },
    Math.min(1000, options.timeoutMs, options.lingerMs) / 4,
  )

  try {
    const events = run({ files: [file], concurrency: 1, signal: stop.signal })
    for await (const event of events as AsyncIterable<TestEvent>) {
      if (tally.add(event)) lastProgress = performance.now()
      if (!isSummary(event)) reporter.write(event)
    }
  } finally {
    clearInterval(watchdog)
  }
  tally.end()
  await new Promise<void>((resolve) => {
    reporter.once('end', resolve)
    reporter.end()
  })
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  options.write(`\n${name} (${seconds} s)\n${report.join('')}`)
  return tally.outcome
}

/** Totals of one file's `run()`, which would be printed for each file. */
function isSummary({ type, data }: TestEvent): boolean {
  return type === 'test:diagnostic' && data.nesting === 0 && SUMMARY.test(data.message ?? '')
}

/** Counts the leaves of one file's tests from its events, and knows which tests have begun but not ended. */
export class Tally {
  readonly outcome: Outcome = { passed: 0, skipped: 0, failures: [] }
  readonly #file: string
  readonly #name: string
  readonly #titles: string[] = [] // of the tests reported as begun, outermost first
  readonly #children: number[] = [] // tests ended since their parent began, by nesting
  readonly #running: string[] = []
  readonly #said: string[] = [] // its last lines
  #queued = 0 // and not yet ended
  #ended = 0

  /**
   * @param file as given to `run()`, which reports a file like a test of that name
   * @param name for people
   */
  constructor(file: string, name: string) {
    this.#file = file
    this.#name = name
  }

  /** @returns whether a test began or ended */
  add({ type, data }: TestEvent): boolean {
    if (type === 'test:stdout' || type === 'test:stderr') {
      this.#said.push(...(data.message ?? '').trimEnd().split('\n'))
      this.#said.splice(0, this.#said.length - MOST_SAID)
      return false
    }
    const title = data.name ?? ''
    const nesting = data.nesting ?? 0
    if (title === this.#file) {
      if (type === 'test:fail') this.#fileFailed(data.details?.error)
      return false
    }
    switch (type) {
      case 'test:enqueue':
        this.#queued++
        return true
      case 'test:dequeue':
        this.#running.push(title)
        return true
      case 'test:start':
        this.#titles.splice(nesting, Infinity, title)
        return true
      case 'test:pass':
      case 'test:fail':
        this.#leaf(type, nesting, title, data)
        return true
      default:
        return false
    }
  }

  /** A failure of the file, with what it said last, or of the test below `titles`. */
  fail(titles: readonly string[], message: string): void {
    const said = titles.length > 0 || this.#said.length === 0 ? [] : ['it said:', ...this.#said]
    const whole = [message, ...said].join('\n')
    this.outcome.failures.push({ file: this.#name, titles, message: whole })
  }

  /** Why the file should be stopped, after so long without a test beginning or ending; undefined if it should not. */
  stuck(silentMs: number, limits: { timeoutMs: number; lingerMs: number }): string | undefined {
    const running = this.#running.at(-1)
    if (silentMs > limits.timeoutMs) {
      const what = running === undefined ? 'no test began' : `'${running}' did not end`
      return `stopped: ${what} within ${limits.timeoutMs} ms`
    }
    if (silentMs > limits.lingerMs && this.#ended > 0 && this.#queued === 0) {
      return `stopped: still running ${limits.lingerMs} ms after its last test; a handle was left open`
    }
    return undefined
  }

  /** The process is gone: what has not ended now never will. */
  end(): void {
    const { failures } = this.outcome
    if (failures.some(({ titles }) => titles.length === 0)) return
    if (this.#ended === 0)
      this.fail([], 'reported no test: it has none, or exited before the first ended')
    else if (this.#queued > 0) this.fail([], `exited before ${this.#queued} of its tests ended`)
  }

  #leaf(type: string, nesting: number, title: string, { details, skip, todo }: TestEvent['data']) {
    const hasChildren = (this.#children[nesting + 1] ?? 0) > 0 || details?.type === 'suite'
    this.#children.splice(nesting + 1)
    this.#children[nesting] = (this.#children[nesting] ?? 0) + 1
    this.#queued--
    this.#ended++
    const running = this.#running.lastIndexOf(title)
    if (running >= 0) this.#running.splice(running, 1)

    const optional = isSet(skip) || isSet(todo)
    if (type === 'test:fail' && !optional) {
      if (failureType(details?.error) === 'subtestsFailed') return
      this.fail([...this.#titles.slice(0, nesting), title], describeFailure(details?.error))
    } else if (!hasChildren) {
      if (optional) this.outcome.skipped++
      else this.outcome.passed++
    }
  }

  #fileFailed(error: unknown): void {
    if (this.outcome.failures.length > 0) return // a nonzero exit code is what failures end in
    const { exitCode, signal } = error as { exitCode?: number | null; signal?: string | null }
    this.fail([], `the process ended with ${signal ?? `exit code ${exitCode ?? 'unknown'}`}`)
  }
}

/** `skip: undefined` and `todo: false` are what an ordinary test has. */
function isSet(value: unknown): boolean {
  return value !== undefined && value !== false
}

function failureType(error: unknown): string | undefined {
  return (error as { failureType?: string } | undefined)?.failureType
}

/** Kills the child process that runs `file`, and all that descend from it, so that nothing keeps our pipes open. */
function killProcessesOf(file: string): void {
  const processes = listProcesses()
  const doomed = processes
    .filter(({ parent, args }) => parent === process.pid && args.includes(file))
    .map(({ pid }) => pid)
  for (const pid of doomed) {
    doomed.push(...processes.filter(({ parent }) => parent === pid).map((child) => child.pid))
  }
  for (const pid of doomed) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // gone by itself in the meantime
    }
  }
}

interface ProcessEntry {
  readonly pid: number
  readonly parent: number
  readonly args: readonly string[]
}

function listProcesses(): ProcessEntry[] {
  const entries: ProcessEntry[] = []
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      entries.push({ pid: Number(pid), parent: Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]), args })
    } catch {
      // ended between the two looks
    }
  }
  return entries
}

/** The root of the tree that this file was compiled in: two directories above `dist/scripts`. */
export function projectRoot(): string {
  return dirname(dirname(import.meta.dirname))
}
