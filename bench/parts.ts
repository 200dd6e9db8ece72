/** All parts of the benchmark, in the order in which they are measured and printed. */
import { attachBurst } from './attach-burst.ts'
import { attach } from './attach.ts'
import { autostart } from './autostart.ts'
import { devices } from './devices.ts'
import { dmaCopy } from './dma-copy.ts'
import { dmaFile } from './dma-file.ts'
import { dmaLookUp } from './dma-look-up.ts'
import { dmaMap } from './dma-map.ts'
import { dmaMessage } from './dma-message.ts'
import { dmaPin } from './dma-pin.ts'
import { doorbell } from './doorbell.ts'
import { fuse } from './fuse.ts'
import { guest } from './guest.ts'
import { heap } from './heap.ts'
import { idle } from './idle.ts'
import { manage } from './manage.ts'
import { nvmeClient } from './nvme-client.ts'
import { nvmeGuest } from './nvme-guest.ts'
import type { Part } from './part.ts'
import { posted } from './posted.ts'
import { roundTrips } from './round-trips.ts'
import { sizes } from './sizes.ts'
import { sparse } from './sparse.ts'
import { sysfs } from './sysfs.ts'

export const PARTS: readonly Part[] = [
  roundTrips,
  posted,
  sizes,
  sparse,
  devices,
  doorbell,
  attach,
  attachBurst,
  idle,
  heap,
  guest,
  dmaCopy,
  dmaLookUp,
  dmaMap,
  dmaPin,
  dmaMessage,
  dmaFile,
  autostart,
  manage,
  sysfs,
  nvmeClient,
  nvmeGuest,
  fuse,
]
