/** docs/conformance.md says what the checks say. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { conformanceDocs } from '../../scripts/conformance-page.ts'
import { projectRoot } from '../../scripts/test-runner.ts'
import { CHECKS } from '../../src/vfio-user/conformance/checks.ts'

test('docs/conformance.md is up to date: node dist/scripts/conformance-docs.js writes it', () => {
  const text = readFileSync(join(projectRoot(), 'docs/conformance.md'), 'utf8')
  assert.equal(text, conformanceDocs(CHECKS))
})
