/** Makes JavaScript of TypeScript by taking the types out. */
import swc from '@swc/wasm-typescript'

/**
 * Every character that is left stays where it was, so stack traces need no source map.
 *
 * @param path of the source, for messages
 * @throws SyntaxError what is no TypeScript, or cannot be stripped: enums, namespaces, parameter properties
 */
export function stripTypes(source: string, path: string): string {
  try {
    return swc.transformSync(source, { mode: 'strip-only' }).code
  } catch (error) {
    const { message, startLine } = error as { message?: string; startLine?: number } // what swc throws is no Error
    throw new SyntaxError(`${message ?? 'no TypeScript'} (${path}:${startLine ?? 1})`, {
      cause: error,
    })
  }
}
