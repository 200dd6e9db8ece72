/** The daemon's configuration: a TOML file that says which parents there are, and who may use the API. */
import { readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { type Static, Type } from 'typebox'
import { shapeFault } from '../http/shape-fault.ts'
import { describeError, ErrnoError } from '../lib/errno.ts'
import { parseBytes } from '../lib/format.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { LaunchConfig } from './host-launch.ts'
import type { QuotaLimits } from './quotas.ts'

const EXACT = { additionalProperties: false }
const Id = Type.Integer({ minimum: 0, maximum: 0xffff_fffe })
const NameOrId = Type.Union([Type.String({ minLength: 1 }), Id])
const Count = Type.Integer({ minimum: 0 })

/** As in the file; what is not there has a default. */
const File = Type.Object(
  {
    definitions: Type.Optional(Type.String({ minLength: 1 })),
    sysfs: Type.Optional(Type.Boolean()),
    scripts: Type.Optional(Type.Array(Type.String({ minLength: 1 }))),
    api: Type.Optional(
      Type.Object(
        {
          mode: Type.Optional(Type.Integer({ minimum: 0, maximum: 0o777 })),
          group: Type.Optional(Id),
          admin: Type.Optional(Type.Array(Id)),
          read: Type.Optional(Type.Union([Type.Literal('everyone'), Type.Array(Id)])),
          tcp: Type.Optional(
            Type.Object(
              {
                host: Type.Optional(Type.String({ minLength: 1 })),
                port: Type.Integer({ minimum: 0, maximum: 65_535 }),
                'token-file': Type.String({ minLength: 1 }),
                'read-token-file': Type.Optional(Type.String({ minLength: 1 })),
              },
              EXACT,
            ),
          ),
        },
        EXACT,
      ),
    ),
    owners: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), Type.Object({ 'max-mdevs': Count }, EXACT)),
    ),
    parents: Type.Optional(
      Type.Record(
        Type.String({ pattern: String.raw`^[^./\0][^/\0]*$` }),
        Type.Object(
          {
            driver: Type.String({ minLength: 1 }),
            settings: Type.Optional(
              Type.Record(
                Type.String({ minLength: 1 }),
                Type.Union([Type.String(), Type.Integer(), Type.Boolean()]),
              ),
            ),
            'max-mdevs': Type.Optional(Count),
            cpu: Type.Optional(Type.String({ pattern: String.raw`^[1-9]\d{0,5}%$` })),
            memory: Type.Optional(Type.String({ pattern: String.raw`^[1-9]\d*[KMGT]?$` })),
            user: Type.Optional(NameOrId),
            group: Type.Optional(NameOrId),
            capabilities: Type.Optional(
              Type.Array(Type.String({ pattern: '^[A-Za-z][A-Za-z0-9_]*$' })),
            ),
          },
          EXACT,
        ),
        EXACT,
      ),
    ),
  },
  EXACT,
)

export interface TcpConfig {
  readonly host: string
  /** 0: one that is free. */
  readonly port: number
  readonly tokens: { readonly admin: string; readonly read?: string }
}

export interface DaemonConfig {
  /** Where definitions are, if not where they usually are. */
  readonly definitions?: string
  /** Whether the tree is mounted at `<root>/sys`. */
  readonly sysfs: boolean
  /** Directories with mdevctl's callouts and notifiers, if not where mdevctl has them. */
  readonly scripts?: readonly string[]
  readonly api: {
    /** Of the socket. */
    readonly mode: number
    /** Whose the socket is; the daemon's own unless given. */
    readonly group?: number
    /** Users that may do everything, besides root and the daemon's own. */
    readonly admin: readonly number[]
    /** Users that may look. */
    readonly read: 'everyone' | readonly number[]
    readonly tcp?: TcpConfig
  }
  /** Parents that are to have a host, by name. */
  readonly parents: ReadonlyMap<string, ParentConfig>
  readonly quotas: QuotaLimits
}

export interface ParentConfig {
  /** A shipped driver's name, a module's path, or a package's name. */
  readonly driver: string
  /** Where its host runs, so that paths in its settings start there, and where a package is looked for, as well as above it. */
  readonly directory?: string
  /** Of the parent itself. */
  readonly settings?: AttributeTexts
  /** Limits and privileges of its host. */
  readonly launch?: LaunchConfig
}

/** Of this user: in /etc for root, else below XDG_CONFIG_HOME. */
export function configPath(environment: NodeJS.ProcessEnv = process.env): string {
  const { XDG_CONFIG_HOME: home } = environment
  if (process.geteuid?.() === 0) return '/etc/mdevkit/mdevkit.toml'
  const base = home === undefined || home === '' ? join(homedir(), '.config') : home
  return join(base, 'mdevkit', 'mdevkit.toml')
}

/**
 * Reads the configuration; relative paths in it start at its directory.
 *
 * @param path undefined: this user's, which need not be there
 * @throws ENOENT, EACCES… it or a token's file cannot be read · EINVAL what is wrong with it · EPERM a token that others may read
 */
export function loadConfig(path?: string): DaemonConfig {
  const file = resolve(path ?? configPath())
  return parseConfig(textOf(file, path === undefined), file)
}

function textOf(file: string, optional: boolean): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (optional && error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
}

/** @param file where `text` is from, for messages and relative paths */
export function parseConfig(text: string, file: string): DaemonConfig {
  const given = checked(text, file)
  const { definitions, scripts, sysfs = true, api = {}, parents = {}, owners = {} } = given
  const near = (path: string) => resolve(dirname(file), path)
  const { mode = 0o600, group, admin = [], read = [], tcp } = api
  return {
    ...(definitions === undefined ? {} : { definitions: near(definitions) }),
    ...(scripts === undefined ? {} : { scripts: scripts.map(near) }),
    sysfs,
    api: {
      mode,
      ...(group === undefined ? {} : { group }),
      admin,
      read,
      ...(tcp === undefined ? {} : { tcp: tcpOf(tcp, near) }),
    },
    parents: new Map(
      Object.entries(parents).map(([name, { driver, settings, ...table }]) => [
        name,
        {
          driver: isPath(driver) ? near(driver) : driver,
          directory: dirname(file),
          ...(settings === undefined ? {} : { settings: textsOf(settings) }),
          launch: launchConfigOf(table),
        },
      ]),
    ),
    quotas: { parents: limitsOf(parents), owners: limitsOf(owners) },
  }
}

type ParentTable = NonNullable<Static<typeof File>['parents']>[string]

function launchConfigOf(
  table: Pick<ParentTable, 'cpu' | 'memory' | 'user' | 'group' | 'capabilities'>,
): LaunchConfig {
  const { cpu, memory, user, group, capabilities } = table
  return {
    ...(cpu === undefined ? {} : { cpu: Number.parseInt(cpu, 10) }),
    ...(memory === undefined ? {} : { memory: parseBytes(memory) ?? 0 }),
    ...(user === undefined ? {} : { user }),
    ...(group === undefined ? {} : { group }),
    ...(capabilities === undefined ? {} : { capabilities }),
  }
}

/** Of those that have one. */
function limitsOf(
  tables: Readonly<Record<string, { readonly 'max-mdevs'?: number }>>,
): ReadonlyMap<string, number> {
  return new Map(
    Object.entries(tables).flatMap(([name, { 'max-mdevs': limit }]) =>
      limit === undefined ? [] : [[name, limit] as const],
    ),
  )
}

function textsOf(settings: Readonly<Record<string, string | number | boolean>>): AttributeTexts {
  return Object.entries(settings).map(([name, value]) => [name, String(value)])
}

/** Anything else is the name of a shipped driver, or of a package, which may have a scope. */
function isPath(driver: string): boolean {
  if (/^@[^/]+\/[^/]+$/.test(driver)) return false
  return driver.includes('/') || /\.[cm]?[jt]s$/.test(driver)
}

function checked(text: string, file: string): Static<typeof File> {
  let given: unknown
  try {
    given = parse(text)
  } catch (error) {
    const [first = ''] = describeError(error).split('\n')
    const line = error instanceof TomlError ? `line ${error.line}: ` : ''
    throw new ErrnoError('EINVAL', `${file}: ${line}${first}`, { cause: error })
  }
  const fault = shapeFault(File, given, 'top level')
  if (fault !== undefined) throw new ErrnoError('EINVAL', `${file}: ${fault}`)
  return given as Static<typeof File>
}

type TcpTable = NonNullable<NonNullable<Static<typeof File>['api']>['tcp']>

function tcpOf(table: TcpTable, near: (path: string) => string): TcpConfig {
  const { host = '127.0.0.1', port, 'token-file': admin, 'read-token-file': read } = table
  return {
    host,
    port,
    tokens: {
      admin: secretIn(near(admin)),
      ...(read === undefined ? {} : { read: secretIn(near(read)) }),
    },
  }
}

const READABLE_BY_OTHERS = 0o044

function secretIn(file: string): string {
  if ((statSync(file).mode & READABLE_BY_OTHERS) !== 0)
    throw new ErrnoError('EPERM', `token file ${file}: others may read it (chmod go-r)`)
  return readFileSync(file, 'utf8').trim()
}
