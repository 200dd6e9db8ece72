/** What a client of the API needs of the model: its words, and a definition's two forms. */
export { describeHolders } from '../mdev/holders.ts'
export type { AttributeTexts } from '../mdev/attribute.ts'
export type {
  ControlPlane,
  DefinedMdev,
  DefinitionFault,
  DefinitionKey,
  MdevView,
  ParentView,
  StartRequest,
  UnregisterOptions,
} from '../mdev/control-plane.ts'
export {
  type Definition,
  definitionJson,
  formatDefinition,
  parseDefinition,
} from '../mdev/definition.ts'
export type {
  AttributeSnapshot,
  MdevSnapshot,
  ParentSnapshot,
  TypeSnapshot,
} from '../mdev/state.ts'
