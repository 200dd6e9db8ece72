/** A parent that counts each type by itself. */
import { perType } from '../../src/index.ts'
import { registerDriver } from './register-driver.ts'

export const driver = registerDriver(
  'counted',
  perType(() => 1000),
)
