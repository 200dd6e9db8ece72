/** `node dist/scripts/conformance-docs.js`: writes docs/conformance.md from the list of checks. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CHECKS } from '../src/vfio-user/conformance/checks.ts'
import { conformanceDocs } from './conformance-page.ts'
import { projectRoot } from './test-runner.ts'

writeFileSync(join(projectRoot(), 'docs/conformance.md'), conformanceDocs(CHECKS))
