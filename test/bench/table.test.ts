import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatTable } from '../../bench/table.ts'

test('formatTable() aligns columns, leaves no blanks at line ends and keeps empty rows', () => {
  const text = formatTable(
    [{ title: 'server' }, { title: 'us', align: 'right' }, { title: 'target' }],
    [['echo', '10.0'], [], ['a longer name', '8.5', 'met']],
  )
  assert.deepEqual(text.split('\n'), [
    'server           us  target',
    '-------------  ----  ------',
    'echo           10.0',
    '',
    'a longer name   8.5  met',
  ])
})
