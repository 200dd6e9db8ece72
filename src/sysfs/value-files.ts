/** What a driver declares and shows of one thing, as files: settings that can be written, and status that cannot. */
import type { TreeCall } from '../lib/tree.ts'
import type { AttributeTexts } from '../mdev/attribute.ts'
import type { AttributeSnapshot } from '../mdev/state.ts'
import { ErrnoError } from '../lib/errno.ts'
import { AttributeFile, line } from './attribute-file.ts'
import type { Directory, Tell } from './directory.ts'
import { writtenValue } from './written.ts'

type Texts = Readonly<Record<string, string>>

export interface ValueFilesOptions {
  readonly directory: Directory
  readonly tell: Tell
  /** Of a refusal: `mdev 83b8…`. */
  readonly of: string
  /** What is shown now, asked of the driver. */
  readonly status: () => Promise<Texts>
  /** Those that can be written have a `store`. */
  readonly attributes?: readonly AttributeSnapshot[]
  readonly isWritable?: (attribute: AttributeSnapshot) => boolean
  readonly store?: (attributes: AttributeTexts, call: TreeCall) => Promise<void>
}

export class ValueFiles {
  readonly #options: ValueFilesOptions
  readonly #files = new Map<string, AttributeFile>()
  #values: Texts = {}
  #status: Texts = {}

  constructor(options: ValueFilesOptions) {
    this.#options = options
    for (const attribute of options.attributes ?? [])
      this.#add(attribute.name, this.#setting(attribute))
  }

  /** Tells of what reads otherwise than before; what a driver has begun to show gets its file. */
  update({ values = {}, status }: { readonly values?: Texts; readonly status: Texts }): void {
    const before: Texts = { ...this.#status, ...this.#values }
    this.#values = values
    this.#status = status
    for (const name of Object.keys(status)) {
      if (!this.#files.has(name)) this.#add(name, this.#shown(name))
    }
    for (const [name, text] of Object.entries({ ...status, ...values })) {
      const file = this.#files.get(name)
      if (file !== undefined && before[name] !== undefined && before[name] !== text)
        this.#options.tell({ node: file })
    }
  }

  #setting(attribute: AttributeSnapshot): AttributeFile {
    const { isWritable = () => false, store } = this.#options
    const { name } = attribute
    const show = () => line(this.#values[name] ?? '')
    if (store === undefined || !isWritable(attribute)) return new AttributeFile(0o444, { show })
    return new AttributeFile(0o644, {
      show,
      store: (bytes, call) => store([[name, writtenValue(name, bytes)]], call),
    })
  }

  #shown(name: string): AttributeFile {
    const { of, status } = this.#options
    return new AttributeFile(0o444, {
      show: async () => {
        const text = (await status())[name]
        if (text === undefined)
          throw new ErrnoError('EIO', `${of}: its driver does not show ${name} now`)
        return line(text)
      },
    })
  }

  /** A name may have one directory: `vendor/x`. */
  #add(name: string, file: AttributeFile): void {
    this.#files.set(name, file)
    const [first = '', second, ...rest] = name.split('/')
    if (rest.length > 0 || !isName(first) || !(second === undefined || isName(second))) return
    const { directory } = this.#options
    if (second === undefined) directory.add(first, file)
    else directory.subdirectory(first)?.add(second, file)
  }
}

function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('\0')
}
