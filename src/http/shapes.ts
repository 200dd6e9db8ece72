/** The model as JSON: what goes over the API in either direction, in the words of `src/mdev/`. */
import { type Static, type TSchema, Type } from 'typebox'
import type { AttributeSchema, AttributeTexts } from '../mdev/attribute.ts'

/** What a handler may answer where `S` is promised: the same, but nobody need be able to write to it. */
export type Told<S extends TSchema> = DeepReadonly<Static<S>>

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T

/** A request is to hold nothing that is not known: a misspelt key would be ignored in silence. */
const EXACT = { additionalProperties: false }

export const Attributes = Type.Unsafe<AttributeTexts>(
  Type.Array(Type.Array(Type.String(), { minItems: 2, maxItems: 2 }), {
    description: 'Settings as written: pairs of name and text, in the order in which they apply.',
  }),
)

const Shown = Type.Record(Type.String(), Type.String())
const Values = Type.Record(Type.String(), Type.String(), {
  description: 'How all settings read, those included that have their defaults.',
})

const Faults = Type.Array(Type.String(), {
  description: 'Which functions of the driver failed when last called, and how.',
})

export const Definition = Type.Object(
  {
    type: Type.String({ description: 'As in sysfs: `mtty-2`.' }),
    start: Type.Union([Type.Literal('auto'), Type.Literal('manual')]),
    attributes: Attributes,
    others: Type.Optional(
      // a key that mdevctl has too would take its place in the file
      Type.Record(Type.String({ pattern: '^(?!(mdev_type|start|attrs)$)' }), Type.Unknown(), {
        ...EXACT,
        description: 'Keys of its file that are of others than mdevctl, kept as they are.',
      }),
    ),
  },
  EXACT,
)

const KEY = {
  parent: Type.String(),
  uuid: Type.String(),
}

export const DefinedMdev = Type.Object({ ...KEY, definition: Definition }, EXACT)

export const DefinitionFault = Type.Object({ path: Type.String(), message: Type.String() })

export const Mdev = Type.Object({
  ...KEY,
  type: Type.String(),
  state: Type.Union([
    Type.Literal('creating'),
    Type.Literal('active'),
    Type.Literal('removing'),
    Type.Literal('removed'),
  ]),
  group: Type.Integer(),
  attributes: Attributes,
  values: Values,
  status: Shown,
  faults: Faults,
  client: Type.Optional(Type.String({ description: 'Who has it open.' })),
  socket: Type.Optional(Type.String({ description: 'Where clients connect: vfio-user.' })),
  owner: Type.Optional(
    Type.Object(
      { user: Type.String(), tool: Type.String() },
      { description: 'Who made it: the user by the kernel, the tool by its own word.' },
    ),
  ),
})

export const MdevView = Type.Object({
  ...KEY,
  active: Type.Optional(Mdev),
  definition: Type.Optional(Definition),
  waits: Type.Optional(
    Type.String({ description: 'Why it is not active, although it should be.' }),
  ),
})

export const MdevList = Type.Object({
  mdevs: Type.Array(MdevView),
  faults: Type.Array(DefinitionFault),
})

const Attribute = Type.Object({
  name: Type.String(),
  description: Type.String(),
  default: Type.Optional(
    Type.String({ description: 'How it reads where nobody has said; without it somebody has to.' }),
  ),
  change: Type.Union([
    Type.Literal('live'),
    Type.Literal('next-start'),
    Type.Literal('re-creation'),
  ]),
  accepts: Type.String(),
  schema: Type.Unsafe<AttributeSchema>(Type.Object({ type: Type.String() })),
})

export const MdevType = Type.Object({
  name: Type.String(),
  prettyName: Type.String(),
  description: Type.Optional(Type.String()),
  deviceApi: Type.String(),
  availableInstances: Type.Integer(),
  peerToPeer: Type.Optional(
    Type.Boolean({ description: 'Whether its mdevs can join one group with others.' }),
  ),
  status: Shown,
  aliases: Type.Optional(
    Type.Array(Type.String(), { description: 'Names that it had, and can still be started by.' }),
  ),
  attributes: Type.Optional(
    Type.Array(Attribute, {
      description: 'Settings of its mdevs, where they are not those of all.',
    }),
  ),
})

export const Parent = Type.Object({
  name: Type.String(),
  driver: Type.String(),
  state: Type.Union([
    Type.Literal('registering'),
    Type.Literal('registered'),
    Type.Literal('unregistering'),
    Type.Literal('unregistered'),
  ]),
  types: Type.Array(MdevType),
  settings: Attributes,
  values: Values,
  status: Shown,
  faults: Faults,
  parentAttributes: Type.Array(Attribute, { description: 'Settings of the parent itself.' }),
  attributes: Type.Array(Attribute, { description: 'Settings of its mdevs.' }),
  mdevs: Type.Array(Mdev),
  pid: Type.Optional(Type.Integer({ description: 'Of its host; absent while there is none.' })),
  waits: Type.Optional(
    Type.String({
      description:
        'Why there is no host, of a parent that should have one; of one that is being unregistered, who keeps it.',
    }),
  ),
  unregistered: Type.Optional(
    Type.Boolean({ description: 'It was unregistered, and has no host until it is registered.' }),
  ),
  warnings: Type.Optional(
    Type.Array(Type.String(), { description: 'What of its configuration its host has not.' }),
  ),
})

export const StartRequest = Type.Object(
  {
    uuid: Type.Optional(Type.String()),
    parent: Type.Optional(Type.String()),
    type: Type.Optional(Type.String()),
    attributes: Type.Optional(Attributes),
  },
  EXACT,
)

export const StopRequest = Type.Object(
  {
    force: Type.Optional(Type.Boolean({ description: 'Take it away from its client.' })),
    wait: Type.Optional(
      Type.Boolean({ description: 'Until its client lets go, for however long.' }),
    ),
  },
  EXACT,
)

export const UnregisterRequest = Type.Object(
  {
    force: Type.Optional(
      Type.Boolean({
        description: 'Take its mdevs from their clients, and kill a host that does not answer.',
      }),
    ),
    wait: Type.Optional(
      Type.Boolean({ description: 'Until all clients let go, for however long.' }),
    ),
  },
  EXACT,
)

export const ChangeRequest = Type.Object({ attributes: Attributes }, EXACT)

/** Every refusal, whatever the route. */
export const Refusal = Type.Object({
  error: Type.Object({
    code: Type.String({ description: 'The name of a Linux errno: `EBUSY`.' }),
    errno: Type.Integer({ minimum: 1, description: 'Its number.' }),
    message: Type.String(),
  }),
})

export const Health = Type.Object({
  status: Type.Literal('ok'),
  version: Type.String(),
  pid: Type.Integer(),
})

const MachineEvent = Type.Object({
  action: Type.Union([
    Type.Literal('add'),
    Type.Literal('bind'),
    Type.Literal('removing'),
    Type.Literal('unbind'),
    Type.Literal('remove'),
    Type.Literal('change'),
    Type.Literal('move'),
    Type.Literal('online'),
    Type.Literal('offline'),
    Type.Literal('unregistering'),
    Type.Literal('attach'),
    Type.Literal('detach'),
    Type.Literal('define'),
    Type.Literal('undefine'),
  ]),
  parent: Type.String(),
  MDEV_STATE: Type.Optional(Type.Union([Type.Literal('registered'), Type.Literal('unregistered')])),
  uuid: Type.Optional(Type.String()),
  mdev: Type.Optional(Mdev),
  definition: Type.Optional(Definition),
  types: Type.Optional(Type.Array(MdevType)),
  view: Type.Optional(Parent),
  DEVPATH: Type.Optional(Type.String({ description: 'Its place in the tree.' })),
  SUBSYSTEM: Type.Optional(Type.String({ description: '`mdev`, or the class of a parent.' })),
  DRIVER: Type.Optional(Type.String({ description: 'Of an mdev that has been built.' })),
  SEQNUM: Type.Optional(
    Type.Integer({ minimum: 1, description: 'Of those events that the kernel has too.' }),
  ),
  SYNTH_UUID: Type.Optional(
    Type.String({ description: 'It was asked for by a write to `uevent`: nothing has happened.' }),
  ),
})

const Snapshot = Type.Object({
  action: Type.Literal('snapshot'),
  parents: Type.Array(Parent),
  mdevs: Type.Array(MdevView),
  faults: Type.Array(DefinitionFault),
})

/** `data` of an event of the stream; its action is the event's name too. The first is the snapshot. */
export const StreamEvent = Type.Union([Snapshot, MachineEvent])
