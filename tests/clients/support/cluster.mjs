// Nodes of Stentor that one RabbitMQ joins, and in front of them a proxy without stickiness: each request goes to the node
// after the one before, so that no two in a row reach the same.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { startBalancer } from './nginx.mjs';
import { startNode } from './node.mjs';
import { freePorts } from './ports.mjs';
import { sharedRabbit } from './rabbitmq.mjs';
import { eventually } from './wait.mjs';

const JOINED = 30_000;

/**
 * `{ url, port, urls, nodes, rabbit, restart, stop }`: the proxy's address, and each node's own; `restart(i)` brings back a
 * node that was killed. `count` nodes are started with `args`; with `tcp` there is `tcpPort` too, of which each connection
 * goes to another node; `doors` are RabbitMQ's.
 */
export async function startCluster({ count = 3, args = [], tcp = false, doors = ['amqp'] } = {}) {
  const started = [];
  const add = async (thing) => {
    started.push(await thing);
    return started.at(-1);
  };
  const stop = async () => {
    const failures = [];
    // The proxy first, RabbitMQ last: nodes go as they do in use.
    for (const each of started.splice(0).reverse()) await each.stop().catch((error) => failures.push(error));
    if (failures.length) throw failures[0];
  };
  try {
    const rabbit = await add(sharedRabbit(doors));
    // What was before, on a RabbitMQ that is shared, is another installation's.
    const settings = { STENTOR_AMQP: rabbit.url, STENTOR_INSTALLATION: `test-${randomUUID()}` };
    const tcpPorts = await freePorts(tcp ? count : 0);
    const begin = (i, port) =>
      startNode(port, ['--node', `n${i + 1}`, ...(tcp ? ['--tcp', `127.0.0.1:${tcpPorts[i]}`] : []), ...args], settings);
    const starts = Array.from({ length: count }, (_, i) => begin(i, 0));
    // All are waited for, so that none is left behind when another fails.
    const settled = await Promise.allSettled(starts);
    for (const { value } of settled) if (value) await add(value);
    const nodes = await Promise.all(starts);
    await Promise.all(nodes.map(ready));
    const balancer = await add(startBalancer(nodes.map(({ port }) => port)));
    const tcpPort = tcp ? (await add(inTurn(tcpPorts))).port : undefined;
    const restart = async (i) => {
      // So that it is stopped with the others, not after RabbitMQ.
      const place = started.indexOf(nodes[i]);
      nodes[i] = started[place] = await begin(i, nodes[i].port);
      await ready(nodes[i]);
    };
    return { ...balancer, urls: nodes.map(({ url }) => url), nodes, rabbit, ...(tcp && { tcpPort }), restart, stop };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}

/** Joined with the others, and with the log of events read. */
const ready = ({ url }) => eventually(JOINED, `${url} to be joined with other nodes`, async () => (await fetch(`${url}/health`)).ok);

/** A port of which each connection goes to the next of `ports`: `{ port, stop }`. */
async function inTurn(ports) {
  const sockets = new Set();
  let turn = 0;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ port: ports[(turn += 1) % ports.length], host: '127.0.0.1', allowHalfOpen: true });
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(one);
      one.setNoDelay();
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: server.address().port, stop };
}
