// RabbitMQ with its STOMP plug-ins as a child of the test, as it is on Debian: with a folder, a node name, ports and an
// epmd (Erlang's registry of nodes) of its own, so that it neither meets nor disturbs another.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePorts } from './ports.mjs';
import { eventually, within } from './wait.mjs';

// Not the wrapper in /usr/sbin, which becomes another user and has folders of its own.
const SERVER = process.env.RABBITMQ_SERVER ?? '/usr/lib/rabbitmq/bin/rabbitmq-server';
const EPMD = '/usr/bin/epmd';
// Of util-linux: what it starts is killed with its parent, however that ends.
const WITH_PARENT = ['/usr/bin/setpriv', '--pdeathsig', 'KILL'];
// Erlang takes its time on a busy machine.
const START = 120_000;
const STOP = 15_000;

/** Why there is no RabbitMQ to compare with, or nothing. */
export const missing = () =>
  [SERVER, EPMD, WITH_PARENT[0]].every((file) => existsSync(file)) ? undefined : 'no RabbitMQ: scripts/apt-install.sh rabbitmq-server';

/** RabbitMQ with an empty past: `{ port, webPort, stop }`, STOMP's over TCP and over WebSocket (at /ws). */
export async function startRabbit() {
  const folder = await mkdtemp(path.join(tmpdir(), 'stentor-rabbitmq-'));
  const [port, webPort, epmdPort, distribution] = await freePorts(4);
  const children = [];
  const kill = () => children.forEach((child) => child.kill('SIGKILL'));
  process.once('exit', kill);
  const stop = async () => {
    // Whatever it would still write is thrown away with the folder.
    kill();
    await within(STOP, Promise.all(children.map(ended)), 'RabbitMQ and epmd to end');
    process.off('exit', kill);
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  };
  try {
    await writeFile(
      path.join(folder, 'rabbitmq.conf'),
      `listeners.tcp = none
      stomp.listeners.tcp.1 = 127.0.0.1:${port}
      stomp.default_user = guest
      stomp.default_pass = guest
      web_stomp.tcp.ip = 127.0.0.1
      web_stomp.tcp.port = ${webPort}
      disk_free_limit.absolute = 1MB
      log.console = true
      log.console.level = error
      log.file = false
      `,
    );
    await writeFile(path.join(folder, 'enabled_plugins'), '[rabbitmq_stomp,rabbitmq_web_stomp].\n');
    const environment = {
      PATH: process.env.PATH,
      LANG: 'C.UTF-8',
      // Where Erlang keeps its cookie.
      HOME: folder,
      ERL_EPMD_PORT: String(epmdPort),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      // Makes the script become the server, instead of staying above it.
      RUNNING_UNDER_SYSTEMD: 'yes',
      RABBITMQ_CONF_ENV_FILE: path.join(folder, 'rabbitmq-env.conf'),
      RABBITMQ_NODENAME: `stentor-${randomUUID().slice(0, 8)}@localhost`,
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_CONFIG_FILE: path.join(folder, 'rabbitmq.conf'),
      RABBITMQ_ADVANCED_CONFIG_FILE: path.join(folder, 'advanced.config'),
      RABBITMQ_ENABLED_PLUGINS_FILE: path.join(folder, 'enabled_plugins'),
      RABBITMQ_MNESIA_BASE: path.join(folder, 'mnesia'),
      RABBITMQ_LOG_BASE: path.join(folder, 'log'),
      RABBITMQ_GENERATED_CONFIG_DIR: path.join(folder, 'config'),
      RABBITMQ_SCHEMA_DIR: path.join(folder, 'schema'),
      RABBITMQ_PID_FILE: path.join(folder, 'pid'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    };
    const begin = (program, args) => {
      const [command, ...words] = [...WITH_PARENT, program, ...args];
      const child = spawn(command, words, { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
      children.push(child);
      child.output = '';
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (child.output += chunk));
      child.died = once(child, 'exit').then(([code, signal]) => {
        throw new Error(`${path.basename(program)} ended at start (${signal ?? code}):\n${child.output}`);
      });
      child.died.catch(() => {});
      return child;
    };
    const epmd = begin(EPMD, ['-port', String(epmdPort), '-address', '127.0.0.1']);
    await Promise.race([epmd.died, eventually(START, 'epmd to listen', () => accepts(epmdPort))]);
    const server = begin(SERVER, []);
    const ready = Promise.all([
      eventually(START, 'RabbitMQ to answer STOMP', () => connects(port)),
      eventually(START, 'RabbitMQ to answer WebSocket', () => accepts(webPort)),
    ]);
    try {
      await Promise.race([server.died, ready]);
    } catch (error) {
      error.message += `\nits output:\n${server.output}`;
      throw error;
    }
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  return { port, webPort, stop };
}

const ended = (child) => (child.exitCode ?? child.signalCode) !== null || child.pid === undefined || once(child, 'exit');

/** A connection to `port`, made. */
async function reach(port) {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

const accepts = async (port) => {
  (await reach(port)).destroy();
  return true;
};

/** Listening comes before the vhost is up, so this asks for a session. */
async function connects(port) {
  const socket = await reach(port);
  try {
    socket.write('CONNECT\naccept-version:1.2\nhost:/\n\n\0');
    const [data] = await within(5000, once(socket, 'data'), 'an answer');
    return data.toString().startsWith('CONNECTED');
  } finally {
    socket.destroy();
  }
}
