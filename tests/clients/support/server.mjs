// The server under test: one that is there already (STENTOR_URL), or one of our own. With STENTOR_CLUSTER=1 that is three
// nodes behind a proxy that keeps nothing in place.
import { startCluster } from './cluster.mjs';
import { hasTcp, startNode } from './node.mjs';
import { freePorts } from './ports.mjs';

/** Whether the server under test is several nodes. */
export const CLUSTERED = process.env.STENTOR_CLUSTER === '1';

/** Why a test is left out where there are several nodes: it would show nothing that it does not show with one. */
export const ONE_IS_ENOUGH = CLUSTERED && 'shows no more on several nodes';

/** Whether tests can have servers of their own. */
export const canStart = () => !process.env.STENTOR_URL || Boolean(process.env.STENTOR_BIN);

/** The server that all tests of a file share: `{ url, stop }`. */
export async function sharedServer() {
  const url = process.env.STENTOR_URL;
  if (url) return { url: url.replace(/\/$/, ''), stop: async () => {} };
  return startServer();
}

/** A server of our own, without a past: `{ url, port, urls, stop }`, where `urls` has each node's own. */
export async function startServer(port = 0, args = []) {
  if (CLUSTERED) return startCluster({ args });
  const node = await startNode(port, args);
  return { ...node, urls: [node.url] };
}

/** The same, which also takes STOMP over TCP, where the build can: `{ url, port, urls, tcpPort, stop }`. */
export async function startStomp() {
  if (!hasTcp()) return startServer();
  if (CLUSTERED) return startCluster({ tcp: true });
  const [tcpPort] = await freePorts(1);
  return { ...(await startServer(0, ['--tcp', `127.0.0.1:${tcpPort}`])), tcpPort };
}
