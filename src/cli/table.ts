/** Tables on a terminal: columns of text, two blanks between them, none at the end of a line. */
import type { Paint } from './paint.ts'

/** A text, or one in a colour that goes with it. */
export type Cell = string | { readonly text: string; readonly paint: Paint }

const EMPTY = '-'

/** @param rows as many cells as there are headings; empty ones are shown as a dash */
export function table(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const widths = headings.map((heading, at) =>
    Math.max(heading.length, ...rows.map((row) => textOf(row[at]).length)),
  )
  return [headings, ...rows].map((row) => `${line(row, widths)}\n`).join('')
}

function line(row: readonly Cell[], widths: readonly number[]): string {
  return row
    .map((cell, at) => {
      const text = textOf(cell)
      const blanks = at === row.length - 1 ? '' : ' '.repeat((widths[at] ?? 0) - text.length)
      return (typeof cell === 'string' ? text : cell.paint(text)) + blanks
    })
    .join('  ')
}

/** One line, whatever it holds: no terminal is to be told what to do by a name. */
function textOf(cell: Cell | undefined): string {
  const text = typeof cell === 'string' ? cell : (cell?.text ?? '')
  return text === '' ? EMPTY : text.replaceAll(/\p{Cc}/gu, '?')
}
