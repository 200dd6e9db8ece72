/** Groups that mdevs have joined, as the tree shows them: what the kernel has where several devices share an IOMMU group. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { driverOf } from '../mdev/support.ts'
import { Bench, CLASS, createOf, DEVICES, u } from './bench.ts'

const GROUP = u(0xff)
const driver = driverOf({ types: { 1: { peerToPeer: true }, lone: {} } })

test('mdevs that have joined a group are in one iommu_group, and leave it again', async () => {
  using bench = await Bench.start({ x: driver, y: driver })
  const { walker } = bench
  assert.equal(await walker.read(`${CLASS}/x/mdev_supported_types/test-1/peer_to_peer`), '1\n')
  assert.ok(!walker.ls(`${CLASS}/x/mdev_supported_types/test-lone`).includes('peer_to_peer'))
  for (const [index, parent] of ['x', 'y'].entries())
    assert.equal(await walker.write(createOf(parent, 'test-1'), u(index + 1)), 'ok')
  assert.deepEqual(walker.ls('/kernel/iommu_groups'), ['0', '1'])
  for (const mdev of [u(1), u(2)])
    assert.equal(await walker.write(`${DEVICES}/${mdev}/group`, `${GROUP}\n`), 'ok')
  const [number, ...others] = walker.ls('/kernel/iommu_groups')
  assert.deepEqual(others, [])
  assert.deepEqual(walker.ls(`/kernel/iommu_groups/${number}/devices`), [u(1), u(2)])
  for (const mdev of [u(1), u(2)]) {
    const link = walker.node(`${DEVICES}/${mdev}/iommu_group`)
    assert.ok(link?.kind === 'link' && link.target.endsWith(`/kernel/iommu_groups/${number}`))
    assert.equal(await walker.read(`${DEVICES}/${mdev}/group`), `${GROUP}\n`)
  }
  assert.equal(await walker.write(`${DEVICES}/${u(1)}/group`, '\n'), 'ok')
  assert.equal(walker.ls('/kernel/iommu_groups').length, 2)
  assert.deepEqual(walker.ls(`/kernel/iommu_groups/${number}/devices`), [u(2)])
})

test('what is refused of a group has its errno', async () => {
  using bench = await Bench.start({ x: driver })
  const { walker } = bench
  await walker.write(createOf('x', 'test-1'), u(1))
  await walker.write(createOf('x', 'test-lone'), u(2))
  assert.equal(await walker.write(`${DEVICES}/${u(1)}/group`, 'no uuid'), 'EINVAL')
  assert.equal(await walker.write(`${DEVICES}/${u(2)}/group`, GROUP), 'EOPNOTSUPP')
})
