/** A parent whose types share a budget. */
import { sharedBudget } from '../../src/index.ts'
import { registerDriver } from './register-driver.ts'

export const driver = registerDriver(
  'budgeted',
  sharedBudget(2000, ({ units }) => units),
)
