/** What a TypeScript source imports, found without a compiler: comments and the text of strings are set aside first. */

export interface Imports {
  /** Specifiers of static and dynamic imports and of `export … from`, in order of appearance by kind. */
  readonly specifiers: readonly string[]
  readonly exportsDefault: boolean
}

const FORMS = [
  /\b(?:import|export)\b[^"();]*?\bfrom\s*"(\d+)"/g, // import x from, export * from, types too
  /\bimport\s*"(\d+)"/g,
  /\b(?:import|require)\s*\(\s*"(\d+)"/g, // import() as an expression and as a type
] as const

/** The imports of one source file. */
export function importsOf(source: string): Imports {
  const { code, strings } = maskStrings(source)
  const specifiers = FORMS.flatMap((form) =>
    [...code.matchAll(form)].map(([, index]) => strings[Number(index)] ?? ''),
  )
  const exportsDefault = /\bexport\s+default\b|\bexport\s*\{[^}]*\bas\s+default\b/.test(code)
  return { specifiers, exportsDefault }
}

/** A `/` after one of these begins a regular expression, after anything else it divides. */
const BEFORE_REGEXP = /(?:^|[(,=:[!&|?{};+\-*%~^<>\n]|\b(?:return|typeof|case|in|of))\s*$/

const TOKEN = {
  comment: /\/\/[^\n]*|\/\*[^]*?\*\//y,
  string: /'(?:[^'\\\n]|\\[^])*'|"(?:[^"\\\n]|\\[^])*"/y,
  regexp: /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\//y,
} as const

/** The source with comments and regular expressions gone, and each string replaced by its quoted number in `strings`. */
function maskStrings(source: string): { code: string; strings: string[] } {
  const strings: string[] = []
  let code = ''
  let at = 0
  const take = (kind: keyof typeof TOKEN): string | undefined => {
    TOKEN[kind].lastIndex = at
    const text = TOKEN[kind].exec(source)?.[0]
    if (text !== undefined) at += text.length
    return text
  }

  const mask = (text: string) => {
    code += `"${strings.length}"`
    strings.push(text)
  }

  /** Braces open in the code of each `${}` that we are in, innermost last. */
  const braces: number[] = []
  const template = () => {
    const start = at
    while (at < source.length && source[at] !== '`' && !source.startsWith('${', at)) {
      at += source[at] === '\\' ? 2 : 1
    }
    mask(source.slice(start, at))
    if (source[at] === '`') {
      at++
    } else {
      at += 2
      code += '+'
      braces.push(0)
    }
  }

  while (at < source.length) {
    if (take('comment') !== undefined) continue
    const string = take('string')
    if (string !== undefined) {
      mask(string.slice(1, -1))
    } else if (!(BEFORE_REGEXP.test(code.slice(-20)) && take('regexp') !== undefined)) {
      const char = source[at++] ?? ''
      const depth = braces.at(-1)
      if (char === '`') {
        template()
      } else if (char === '}' && depth === 0) {
        braces.pop()
        template()
      } else {
        if (depth !== undefined && char === '{') braces[braces.length - 1] = depth + 1
        if (depth !== undefined && char === '}') braces[braces.length - 1] = depth - 1
        code += char
      }
    }
  }
  return { code, strings }
}
