// The two servers that are compared: sockjs-node, the reference, and the one under test. Both have the same services,
// those that the test suite of the SockJS protocol asks for.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import sockjs from 'sockjs';
import { within } from './wait.mjs';

/** Octets after which a streaming response ends, on both. */
export const RESPONSE_LIMIT = 4096;
export const SOCKJS_URL = '/lib/sockjs.min.js';
const START = 15_000;

const echo = (connection) => connection.on('data', (message) => connection.write(message));
const SERVICES = {
  '/echo': [echo, {}],
  '/disabled_websocket_echo': [echo, { websocket: false }],
  '/close': [(connection) => connection.close(3000, 'Go away!'), {}],
  '/cookie_needed_echo': [echo, { jsessionid: true }],
};

/** sockjs-node on a free port: `{ port, stop }`. */
export async function startReference() {
  const server = createServer((_, response) => response.writeHead(404).end());
  for (const [prefix, [connected, options]] of Object.entries(SERVICES)) {
    const service = sockjs.createServer({ response_limit: RESPONSE_LIMIT, sockjs_url: SOCKJS_URL, log: () => {}, ...options });
    service.on('connection', connected);
    service.installHandlers(server, { prefix });
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets = new Set();
  server.on('connection', (socket) => sockets.add(socket.on('close', () => sockets.delete(socket))));
  const stop = async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: server.address().port, stop };
}

/** The server under test, a program that takes `--listen` and prints where it listens: `{ port, stop }`. */
export async function startTested(program) {
  if (program === 'sockjs-node') return startReference();
  const child = spawn(program, ['--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  const port = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const [, found] = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(output) ?? [];
      if (found) resolve(Number(found));
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('error', reject);
    child.on('exit', (code, signal) => reject(new Error(`the test server ended at start (${signal ?? code}):\n${output}`)));
  });
  port.catch(kill);
  const stop = async () => {
    process.off('exit', kill);
    const gone = child.exitCode ?? child.signalCode;
    kill();
    if (gone !== null) throw new Error(`the test server had ended by itself (${gone}):\n${output}`);
  };
  return { port: await within(START, port, () => `the test server to listen; its output:\n${output}`), stop };
}
