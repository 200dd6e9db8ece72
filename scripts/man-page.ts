/** The manual page of mdevkit, made of its tree of commands. */
import { type Command, Help, type Option } from 'commander'
import { EXAMPLES } from '../src/cli/command-texts.ts'
import { EXIT_CODES } from '../src/cli/exit-codes.ts'
import { createProgram } from '../src/cli/program.ts'
import type { ControlPlane } from '../src/mdev/control-plane.ts'

const ENVIRONMENT = {
  MDEVKIT_ROOT: 'The run-time root, where --root does not say it.',
  MDEVKIT_OWNER: 'Who makes what is made: the name of a tool. The name of the user unless given.',
  XDG_RUNTIME_DIR: 'Below it is the run-time root of users other than root.',
  NO_COLOR: 'If it is not empty, no colours are used. They never are but on a terminal.',
  MDEVCTL_LOG: 'error or off: the verbs of mdevctl do not warn.',
}

const FILES = {
  '/run/mdevkit':
    'The run-time root of root; $XDG_RUNTIME_DIR/mdevkit or /tmp/mdevkit-UID for others.',
  'ROOT/api.sock': "The daemon's API.",
  'ROOT/hosts/PARENT.sock': "A host's control socket.",
  'ROOT/devices/UUID/cntrl': 'Where the client of an mdev connects.',
  'ROOT/etc/mdevctl.d/PARENT/UUID': 'A definition, unless the configuration says where they are.',
  '/etc/mdevkit/mdevkit.toml': "The daemon's configuration; others than root have their own.",
}

/** The text of mdevkit.1. @param version of mdevkit */
export function manPage(version: string): string {
  const program = createProgram({
    plane: {} as ControlPlane, // nobody asks
    scriptedPlane: {} as ControlPlane,
    sysfs: '',
    out: () => {},
    err: () => {},
    version,
    asMdevctl: false,
  })
  return [
    `.TH MDEVKIT 1 "" "mdevkit ${roff(version)}" "User Commands"`,
    '.nh', // errnos and paths are not to be broken
    '.ad l',
    '.SH NAME',
    'mdevkit \\- mediated devices in user space, served to virtual machines',
    '.SH SYNOPSIS',
    '.B mdevkit',
    '.RI [ options ] " command " [ argument ...]',
    '.SH DESCRIPTION',
    paragraph(
      'mdevkit serves mediated devices (mdevs), written in TypeScript, to virtual machines over vfio-user. ' +
        'A parent is run by a host, a process of its own; the daemon finds hosts, keeps definitions and starts ' +
        'what is defined as auto. A link named mdevctl to mdevkit is mdevctl, and one named lsmdev is mdevctl list.',
    ),
    '.SH OPTIONS',
    paragraph('Every command has --help and --root, too.'),
    ...options(program),
    '.SH COMMANDS',
    ...visible(program).flatMap((command) => described(command, [])),
    '.SH EXIT STATUS',
    paragraph('As mdevctl, 1 for every refusal. Else:'),
    ...EXIT_CODES.flatMap(({ code, meaning, errnos }) => [
      '.TP',
      `.B ${code}`,
      roff(errnos.length === 0 ? meaning : `${meaning} (${errnos.join(', ')})`),
    ]),
    '.SH ENVIRONMENT',
    ...terms(ENVIRONMENT),
    '.SH FILES',
    ...terms(FILES),
    '.SH SEE ALSO',
    '.BR mdevctl (8),',
    '.BR qemu (1),',
    '.BR virsh (1),',
    '.BR lspci (8)',
    '',
  ].join('\n')
}

function described(command: Command, path: readonly string[]): readonly string[] {
  const names = [...path, command.name()]
  const children = visible(command)
  const operands = command.registeredArguments.map((argument) => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name()
    return argument.required ? name : `[${name}]`
  })
  const title = [...names, ...operands].join(' ')
  if (children.length > 0)
    return [
      `.SS ${roff(title)} command`,
      paragraph(sentence(command.description())),
      ...examples(names),
      ...children.flatMap((each) => described(each, names)),
    ]
  return [
    `.SS ${roff(title)}`,
    paragraph(sentence(command.description())),
    ...command.registeredArguments
      .filter(({ description }) => description !== '')
      .flatMap((argument) => ['.TP', `.I ${roff(argument.name())}`, roff(argument.description)]),
    ...options(command, EVERYWHERE),
    ...examples(names),
  ]
}

/** Said once. */
const EVERYWHERE = new Set(['--help', '--root'])

function options(command: Command, leftOut: ReadonlySet<string> = new Set()): readonly string[] {
  const help = new Help()
  return help
    .visibleOptions(command)
    .filter(({ long }) => !leftOut.has(long ?? ''))
    .flatMap((option) => ['.TP', flags(option), roff(help.optionDescription(option))])
}

/** `-u`, `--uuid` in bold, `UUID` in italics. */
function flags({ flags: text }: Option): string {
  return text
    .split(/(<[^>]+>)/)
    .map((part) => (part.startsWith('<') ? `\\fI${roff(part.slice(1, -1))}\\fR` : bold(part)))
    .join('')
}

function bold(text: string): string {
  return text
    .split(/([\s,]+)/)
    .map((word) => (word.startsWith('-') ? `\\fB${roff(word)}\\fR` : roff(word)))
    .join('')
}

function examples(names: readonly string[]): readonly string[] {
  const known = names.length === 1 ? (EXAMPLES[names[0] ?? ''] ?? []) : []
  return known.flatMap(({ line, does }) => [
    '.PP',
    roff(sentence(does)),
    '.PP',
    '.RS',
    '.nf',
    roff(line),
    '.fi',
    '.RE',
  ])
}

function terms(table: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(table).flatMap(([term, text]) => ['.TP', `.B ${roff(term)}`, roff(text)])
}

function visible(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command)
}

function paragraph(text: string): string {
  return `.PP\n${roff(text)}`
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** A line of text, whatever it holds: hyphens are those of command lines, and no line is a request by chance. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replace(/^([.'])/, '\\&$1')
    .replaceAll("'", '\\(aq')
}
