/** The kernel's transcript over the HTTP API and its event stream, with hosts behind it that are managed over their sockets. */
import { describe, test } from 'node:test'
import { TRANSCRIPT_CASES } from '../mdev/transcript-cases.ts'
import { Player } from '../mdev/transcript-player.ts'
import { ApiSurface } from './api-surface.ts'

describe('The transcript over the HTTP API', () => {
  for (const { section, title, play } of TRANSCRIPT_CASES) {
    test(`${section}: ${title}`, async () => {
      await using surface = await ApiSurface.start()
      await play(new Player(surface))
    })
  }
})
