/** The end of a demo: what it took, and what to try next. */
import type { CardCounts } from './card.ts'
import type { Screen } from './screen.ts'

const NEXT = {
  'npx mdevkit run mtty --type mtty-2': 'such a card for a VM of yours; its ports are terminals',
  'npx mdevkit run examples/scratchpad.ts': 'a driver of 25 lines, from its source',
  'npm run guest -- examples/scratchpad.ts': 'the same in a guest, and a shell there',
  'npm run demo -- --verbose': 'every line of the transcript',
}

export function showCounts(screen: Screen, counts: CardCounts): void {
  const { reads, writes, interrupts, dmaMaps, dmaUnmaps, medianNs } = counts
  const number = (value: number) => value.toLocaleString('en')
  screen.show(
    rows({
      'register accesses': `${number(reads + writes)} (${number(reads)} reads, ${number(writes)} writes)`,
      'median access': `${(medianNs / 1000).toFixed(1)} us, as the server saw it`,
      interrupts: number(interrupts),
      'DMA maps': `${number(dmaMaps)} (${number(dmaUnmaps)} unmapped)`,
    }),
  )
}

export function showNext(screen: Screen, more: Readonly<Record<string, string>> = {}): void {
  screen.show('\nWhat to try next:')
  screen.show(rows({ ...NEXT, ...more }))
}

/** Two columns. */
export function rows(entries: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(entries).map((name) => name.length))
  return Object.entries(entries)
    .map(([name, value]) => `${name.padEnd(width)}  ${value}`)
    .join('\n')
}
