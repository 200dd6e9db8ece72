/** What the help, the manual and the completion say of commands besides their options. */

/** In the order in which help shows them. */
export const GROUPS = {
  look: 'See and hand over:',
  manage: 'Manage, by the verbs of mdevctl:',
  serve: 'Serve:',
  check: 'Check:',
} as const

export interface Example {
  readonly line: string
  readonly does: string
}

/** By the names of commands. */
export const EXAMPLES: Readonly<Record<string, readonly Example[]>> = {
  status: [
    { line: 'mdevkit status', does: 'the daemon, the parents, and every mdev' },
    { line: 'mdevkit status -o json', does: 'the same for a program' },
  ],
  events: [
    { line: 'mdevkit events --follow', does: 'a line for whatever happens, until Ctrl-C' },
    { line: 'mdevkit events -f -o json', does: 'the same as JSON, one object a line' },
  ],
  attach: [
    { line: 'mdevkit attach UUID', does: 'a command line of QEMU that has the mdev' },
    { line: 'mdevkit attach UUID --vmm libvirt', does: 'a domain for virsh define' },
  ],
  exec: [
    { line: 'mdevkit exec -- mdevctl list', does: 'the unmodified mdevctl, on our mdevs' },
    { line: 'mdevkit exec -- bash', does: 'a shell that has them in /sys' },
  ],
  nodedev: [{ line: 'mdevkit nodedev list --cap mdev', does: 'the mdevs by their libvirt names' }],
  types: [
    { line: 'mdevkit types', does: 'what can be created, and how many of each' },
    { line: 'mdevkit types -o table', does: 'the same in columns' },
  ],
  list: [
    { line: 'mdevkit list', does: 'active mdevs' },
    { line: 'mdevkit list -d -v', does: 'definitions, with their attributes' },
    { line: 'mdevkit list -o name', does: 'UUIDs alone, for xargs' },
  ],
  define: [
    {
      line: 'mdevkit define -p mtty -t mtty-2 --auto',
      does: 'defines an mdev that is started by itself, and prints its UUID',
    },
  ],
  undefine: [{ line: 'mdevkit undefine -u UUID', does: 'takes its definitions back' }],
  modify: [
    {
      line: 'mdevkit modify -u UUID --addattr ports --value socket',
      does: 'adds an attribute to a definition',
    },
  ],
  start: [
    { line: 'mdevkit start -u UUID', does: 'makes active what is defined' },
    { line: 'mdevkit start -p mtty -t mtty-1', does: 'makes a fresh one, without a definition' },
  ],
  stop: [{ line: 'mdevkit stop -u UUID', does: 'removes it, once its client has let go' }],
  run: [
    {
      line: 'mdevkit run mtty --type mtty-2',
      does: 'serves a card with two serial ports until Ctrl-C',
    },
    { line: 'mdevkit run ./my-driver.ts', does: 'serves a device of your own, from its source' },
    {
      line: 'mdevkit run nvme --parent-set image=disk.img -t nvme-1g',
      does: 'serves a slice of a disk',
    },
  ],
  host: [{ line: 'mdevkit host mtty --name serial', does: 'runs the parent serial' }],
  daemon: [{ line: 'mdevkit daemon', does: 'runs the daemon in the foreground' }],
  unregister: [
    {
      line: 'mdevkit unregister serial',
      does: 'takes a parent away, once its clients have let go',
    },
    { line: 'mdevkit unregister serial --force', does: 'takes it from them at once' },
  ],
  register: [{ line: 'mdevkit register serial', does: 'brings it back' }],
  doctor: [{ line: 'mdevkit doctor', does: 'what is missing here, and how to get it' }],
  conformance: [
    { line: 'mdevkit conformance --socket PATH', does: 'checks whatever serves that socket' },
  ],
  lspci: [{ line: 'mdevkit lspci --socket PATH', does: 'its configuration space, decoded' }],
  completion: [
    {
      line: 'mdevkit completion bash > /etc/bash_completion.d/mdevkit',
      does: 'completes commands, options, UUIDs, parents and types',
    },
  ],
}

/** Below the help of a command; empty where it has none. */
export function examplesText(command: string): string {
  const examples = EXAMPLES[command] ?? []
  if (examples.length === 0) return ''
  const lines = examples.map(({ line, does }) => `  ${line}\n      ${does}`)
  return `\nExamples:\n${lines.join('\n')}`
}
