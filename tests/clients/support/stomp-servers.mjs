// Servers that speak STOMP: the one under test, and RabbitMQ, which STENTOR_BIN=rabbitmq puts in its place: that shows what
// the tests themselves make uncertain.
import { sharedRabbit } from './rabbitmq.mjs';
import { startStomp } from './server.mjs';
import { tcp, websocket } from './stomp-script.mjs';

export const RABBIT_ALONE = process.env.STENTOR_BIN === 'rabbitmq';

/** `{ theirs, ours, stop }`: functions that connect, to RabbitMQ and to the server under test, for frames by hand. */
export async function startBoth() {
  const starts = await Promise.allSettled([sharedRabbit(['stomp', 'webStomp']), RABBIT_ALONE ? undefined : startStomp()]);
  const [rabbit, server] = starts.map(({ value }) => value);
  const stop = async () => void (await Promise.all([rabbit?.stop(), server?.stop()]));
  const failed = starts.find(({ status }) => status === 'rejected');
  if (failed) {
    await stop();
    throw failed.reason;
  }
  const theirs = () => tcp(rabbit.port);
  return { theirs, ours: RABBIT_ALONE ? theirs : door(server), stop };
}

/** TCP or, where a build has none yet, raw WebSocket. */
const door = (server) => (server.tcpPort ? () => tcp(server.tcpPort) : () => websocket(webSocketUrl(server)));
const webSocketUrl = ({ url }) => `${url.replace(/^http/, 'ws')}/ws/websocket`;

/**
 * The server under test, for clients: `{ tcpPort, webSocketUrl, url, login, passcode, ours, stop }`. Without `tcpPort` it
 * has no TCP, without `url` no SockJS.
 */
export async function startForClients() {
  if (RABBIT_ALONE) {
    const { port, webPort, stop } = await sharedRabbit(['stomp', 'webStomp']);
    return { tcpPort: port, webSocketUrl: `ws://127.0.0.1:${webPort}/ws`, login: 'guest', passcode: 'guest', ours: false, stop };
  }
  const server = await startStomp();
  // A passcode is not unescaped.
  return { ...server, webSocketUrl: webSocketUrl(server), login: 'marie', passcode: 'a\\b:c', ours: true };
}
