/** docs/conformance.md, as text. */
import type { Check } from '../src/vfio-user/conformance/check.ts'

const HEAD = `# Conformance

<!-- Written by scripts/conformance-docs.ts from the checks themselves; do not edit. -->

\`\`\`
npx mdevkit conformance --socket PATH [--json] [--destructive] [--only ID...]
\`\`\`

checks whether a vfio-user server keeps to the protocol, whoever wrote it. The server runs already and has no client. Nothing
need be known of its device: regions, interrupts and capabilities are asked for first.

| argument        | meaning                                                                                            |
| --------------- | -------------------------------------------------------------------------------------------------- |
| \`--socket\`      | the server's socket                                                                                |
| \`--destructive\` | runs the checks, too, that may disturb the device: reads of BARs, writes, resets, maps, interrupts |
| \`--only\`        | runs these checks, or groups of them: \`--only info framing.ids\`                                    |
| \`--json\`        | prints one JSON object on standard output, and nothing else there                                  |

Each check has connections of its own. What does not come in 5 seconds, as long as QEMU waits, is not coming. A check that does
not concern the server is skipped, and says why; one that fails says what was expected and what came. After a failure the
server is asked whether it is still there; if not, the run stops and says so.

Exit code 0: no check failed. 1: one did. 2: wrong usage. A socket that cannot be used ends with a line on standard error that names it,
and its errno's [exit code](cli.md#exit-codes): 3 where it is not there, 8 where nobody listens.

What a server need not have (REGION_WRITE_MULTI, I/O fds, DEVICE_FEATURE, migration, a log of dirty pages, a twin socket) is
checked as far as it offers it; otherwise it has to refuse it properly. Where the protocol permits several answers, a check
accepts them all, and its rule names them. Rules that lean on §19 are what a server needs against a hostile client, and go
further than some servers in use.

Sections go by topic: 2 transport, 3 header, 4 commands and the shapes of replies, 5 VERSION, 6 DMA maps, 7 device info, 8 regions,
9 I/O fds, 10 interrupts, 11 region access, 12 DMA messages, 13 reset, 14 features and migration, 15 to 17 what clients in use
do, 19 what a server needs against a hostile client.
`

/** One group of checks a table. */
export function conformanceDocs(checks: readonly Check[]): string {
  const groups = new Map<string, Check[]>()
  for (const check of checks) {
    const name = check.id.slice(0, check.id.indexOf('.'))
    groups.set(name, [...(groups.get(name) ?? []), check])
  }
  const destructive = checks.filter((check) => check.destructive).length
  const count = `\n${checks.length} checks, ${destructive} of them destructive.\n`
  return HEAD + count + [...groups].map(([name, all]) => `\n## ${name}\n\n${table(all)}`).join('')
}

function table(checks: readonly Check[]): string {
  const rows = [
    ['check', 'rule', 'section', 'destructive'],
    ...checks.map(({ id, rule, reference, destructive }) => [
      `\`${id}\``,
      rule,
      reference,
      destructive ? 'yes' : '',
    ]),
  ]
  const widths = [0, 1, 2, 3].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |\n`
  const [head = [], ...body] = rows
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)].join('')
}
