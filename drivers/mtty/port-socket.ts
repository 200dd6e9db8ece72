/** A far end for programs: a UNIX stream socket, one peer at a time. */
import { listenForPeer, type Peer } from 'mdevkit'
import { PeerPort } from './peer-port.ts'

export class SocketPort extends PeerPort {
  /** @throws ENAMETOOLONG · EADDRINUSE somebody listens at `path`, or it is no socket */
  static open(path: string, heedsRts: boolean): SocketPort {
    return new SocketPort((events): Peer => listenForPeer(path, events), heedsRts)
  }
}
