/** All checks, in the order in which they run: what everything else leans on comes first. */
import type { Check } from './check.ts'
import { ACCESS_CHECKS } from './checks/access.ts'
import { CONFIG_CHECKS } from './checks/config.ts'
import { DMA_CHECKS } from './checks/dma.ts'
import { FD_CHECKS } from './checks/fds.ts'
import { FEATURE_CHECKS } from './checks/features.ts'
import { FRAMING_CHECKS } from './checks/framing.ts'
import { INFO_CHECKS } from './checks/info.ts'
import { IO_FD_CHECKS } from './checks/io-fds.ts'
import { IRQ_CHECKS } from './checks/irqs.ts'
import { LIFE_CHECKS } from './checks/life.ts'
import { MIGRATION_CHECKS } from './checks/migration.ts'
import { REGION_CHECKS } from './checks/regions.ts'
import { RESET_CHECKS } from './checks/reset.ts'
import { SET_IRQS_CHECKS } from './checks/set-irqs.ts'
import { VERSION_CHECKS } from './checks/version.ts'
import { WRITE_MULTI_CHECKS } from './checks/write-multi.ts'

export const CHECKS: readonly Check[] = [
  ...VERSION_CHECKS,
  ...FRAMING_CHECKS,
  ...LIFE_CHECKS,
  ...INFO_CHECKS,
  ...REGION_CHECKS,
  ...IO_FD_CHECKS,
  ...IRQ_CHECKS,
  ...CONFIG_CHECKS,
  ...ACCESS_CHECKS,
  ...WRITE_MULTI_CHECKS,
  ...DMA_CHECKS,
  ...SET_IRQS_CHECKS,
  ...RESET_CHECKS,
  ...FD_CHECKS,
  ...FEATURE_CHECKS,
  ...MIGRATION_CHECKS,
]
