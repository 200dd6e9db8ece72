/** A parent that bears one type at a time. */
import { homogeneous } from '../../src/index.ts'
import { registerDriver } from './register-driver.ts'

export const driver = registerDriver(
  'uniform',
  homogeneous(() => 1000),
)
