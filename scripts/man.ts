/** `node dist/scripts/man.js`: writes man/mdevkit.1, which a test holds to what the commands are. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { manPage } from './man-page.ts'
import { projectRoot } from './test-runner.ts'

const root = projectRoot()
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
}
mkdirSync(join(root, 'man'), { recursive: true })
writeFileSync(join(root, 'man', 'mdevkit.1'), manPage(version))
