/** `node dist/scripts/openapi.js`: writes docs/openapi.json, which a test holds to what the daemon serves. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ApiServer } from '../src/http/server.ts'
import { silentLogger } from '../src/lib/log.ts'
import type { ControlPlane } from '../src/mdev/control-plane.ts'
import { projectRoot } from './test-runner.ts'

const root = projectRoot()
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
}
const server = await ApiServer.create({
  plane: {} as ControlPlane, // nobody asks
  events: { subscribe: () => () => {} },
  log: silentLogger,
  version,
})
const file = join(root, 'docs', 'openapi.json')
writeFileSync(file, `${JSON.stringify(server.description, undefined, 2)}\n`)
await server.close()
execFileSync('npx', ['oxfmt', '--write', file], { cwd: root })
