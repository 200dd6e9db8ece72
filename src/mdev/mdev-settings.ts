/** The settings of one mdev: what was written of them, and what that makes of them. */
import {
  type Attributes,
  type AttributeTexts,
  differingNames,
  mergeTexts,
  mustBeChangeable,
  parseAttributes,
  showAttributes,
} from './attribute.ts'
import { checkGroupText, GROUP, groupOf } from './group-attribute.ts'

/** As the driver finds them. */
export type Values = Readonly<Record<string, unknown>>

export interface MdevSettingsOptions {
  /** Of the mdev's type, as in sysfs. */
  readonly typeName: string
  /** What the driver declares. */
  readonly attributes: Attributes
  /** What its driver finds in place of settings that its type does not have. */
  readonly missing: Values
  /** What its creator wants of them. */
  readonly texts: AttributeTexts
}

export class MdevSettings {
  readonly #typeName: string
  readonly #declared: Attributes
  #texts: AttributeTexts
  #values: Values

  /** @throws ENOENT, EINVAL a setting that is not known, or a bad value of one */
  constructor({ typeName, attributes, missing, texts }: MdevSettingsOptions) {
    this.#typeName = typeName
    this.#declared = attributes
    this.#texts = texts
    this.#values = { ...missing, ...parseAttributes(attributes, texts) }
  }

  /** Those that were written, in their order; the others have their defaults. */
  get texts(): AttributeTexts {
    return this.#texts
  }

  get values(): Values {
    return this.#values
  }

  /** While a device is built with them: what was written stays as it is. */
  set values(values: Values) {
    this.#values = values
  }

  /** How all of them read. */
  show(): Readonly<Record<string, string>> {
    return showAttributes(this.#declared, this.#values)
  }

  /** The group that `values` want, by its UUID; empty for one of its own. */
  groupOf(values: Values): string {
    return groupOf(this.#declared, values)
  }

  /**
   * What they would be after `texts`.
   *
   * @throws ENOENT no such setting · EINVAL a bad value · EOPNOTSUPP one takes effect only in an mdev made anew, or is for mdevs of
   *         other types
   */
  after(texts: AttributeTexts): Values {
    checkGroupText(this.#typeName, this.#declared, texts)
    const next = parseAttributes(this.#declared, texts, this.#values)
    mustBeChangeable(this.#declared, texts)
    return next
  }

  /** The name of a setting that has another value in `next`, and takes effect when the device is built anew. */
  needingRebuild(next: Values): string | undefined {
    return differingNames(this.#declared, this.#values, next, 'next-start')[0]
  }

  /** `texts` have been written, and have made `next` of them. */
  write(texts: AttributeTexts, next: Values): void {
    this.#values = next
    this.#texts = mergeTexts(this.#texts, texts)
  }
}

/** Whether the driver has nothing to do with `texts`: they are about the group, which is our affair. */
export function areAboutGroup(texts: AttributeTexts): boolean {
  return texts.every(([name]) => name === GROUP)
}
