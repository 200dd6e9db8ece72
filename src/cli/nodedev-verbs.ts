/** The verbs of `mdevkit nodedev`: which they are, and which options they take. */
import { type Command, Option } from 'commander'
import type * as nodes from './nodedev.ts'

const FORCE = ['-f, --force', 'take what another owner has made'] as const

/** @param out standard output */
export function addNodedev(
  program: Command,
  context: nodes.NodedevContext,
  out: (text: string) => void,
): void {
  const nodedev = program
    .command('nodedev')
    .description("parents and mdevs as libvirt's node devices, in its XML")
  // loaded when one is called: every other command would wait for its XML
  const runs =
    <A extends unknown[]>(
      verb: (verbs: typeof nodes) => (context: nodes.NodedevContext, ...args: A) => Promise<string>,
    ) =>
    async (...args: A) =>
      out(await verb(await import('./nodedev.ts'))(context, ...args))
  const ofNode = (verb: string, description: string) =>
    nodedev.command(verb).description(description).argument('<name>', 'as nodedev list prints it')
  const ofFile = (verb: string, description: string) =>
    nodedev
      .command(verb)
      .description(description)
      .argument('<file>', 'XML of a device with a capability of type mdev; - is standard input')

  nodedev
    .command('list')
    .description('list names: parents and active mdevs')
    .addOption(new Option('--cap <capability>', 'these alone').choices(['mdev', 'mdev_types']))
    .addOption(new Option('--inactive', 'mdevs that are not active').conflicts('all'))
    .option('--all', 'mdevs whether active or not')
    .addOption(new Option('--persistent', 'mdevs that are defined').conflicts('transient'))
    .option('--transient', 'mdevs that are not defined')
    .action(runs(({ listNodes }) => listNodes))
  ofNode('dumpxml', 'print the XML of a parent or an mdev')
    .option('--inactive', 'as it is defined, also where it is active')
    .action(runs(({ dumpNode }) => dumpNode))
  ofNode('info', 'print whether it is active, defined, and started by itself').action(
    runs(({ nodeInfo }) => nodeInfo),
  )
  ofFile('define', 'define an mdev, or change its definition')
    .option(...FORCE)
    .action(runs(({ defineNode }) => defineNode))
  ofFile('create', 'make an mdev active that is not defined').action(
    runs(({ createNode }) => createNode),
  )
  ofNode('start', 'make an mdev active that is defined').action(runs(({ startNode }) => startNode))
  ofNode('destroy', 'remove an active mdev')
    .option(...FORCE)
    .action(runs(({ destroyNode }) => destroyNode))
  ofNode('undefine', 'take a definition back')
    .option(...FORCE)
    .action(runs(({ undefineNode }) => undefineNode))
  ofNode('autostart', 'start it whenever its parent is there')
    .option('--disable', 'start it only when told to')
    .option(...FORCE)
    .action(runs(({ autostartNode }) => autostartNode))
}
