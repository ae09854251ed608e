// RabbitMQ with the doors that are asked for as a child of the test, as it is on Debian: with a folder, a node name, ports and an
// epmd (Erlang's registry of nodes) of its own, so that it neither meets nor disturbs another.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import amqp from 'amqplib';
import { WITH_PARENT } from './child.mjs';
import { freePorts } from './ports.mjs';
import { eventually, within } from './wait.mjs';

// Not the wrapper in /usr/sbin, which becomes another user and has folders of its own.
const SERVER = process.env.RABBITMQ_SERVER ?? '/usr/lib/rabbitmq/bin/rabbitmq-server';
const EPMD = '/usr/bin/epmd';
// Erlang takes its time on a busy machine.
const START = 120_000;
const STOP = 15_000;

/** Why there is no RabbitMQ to compare with, or nothing. */
export const missing = () =>
  [SERVER, EPMD].every((file) => existsSync(file)) ? undefined : 'no RabbitMQ: scripts/apt-install.sh rabbitmq-server';

/** Ways into RabbitMQ: the plug-in that each takes, its settings, and how one sees that it is open. */
export const DOORS = {
  amqp: { settings: (port) => `listeners.tcp.1 = 127.0.0.1:${port}`, ready: speaksAmqp },
  stomp: {
    plugin: 'rabbitmq_stomp',
    settings: (port) => `stomp.listeners.tcp.1 = 127.0.0.1:${port}\nstomp.default_user = guest\nstomp.default_pass = guest`,
    ready: connects,
  },
  webStomp: {
    plugin: 'rabbitmq_web_stomp',
    settings: (port) => `web_stomp.tcp.ip = 127.0.0.1\nweb_stomp.tcp.port = ${port}`,
    ready: accepts,
  },
  mqtt: {
    plugin: 'rabbitmq_mqtt',
    settings: (port) => `mqtt.listeners.tcp.1 = 127.0.0.1:${port}\nmqtt.exchange = amq.topic`,
    ready: accepts,
  },
};

/** The RabbitMQ that several tests share (see with-rabbit.mjs), if it has these doors, or one of our own; as `startRabbit`. */
export async function sharedRabbit(doors) {
  const ports = JSON.parse(process.env.RABBITMQ_PORTS ?? '{}');
  return doors.every((door) => ports[door]) ? faceOf(ports, async () => {}) : startRabbit(doors);
}

/**
 * RabbitMQ with an empty past: `{ ports, url, port, webPort, stop }`: each door's port, the URL of AMQP, and the ports of
 * STOMP over TCP and over WebSocket (at /ws).
 */
export async function startRabbit(doors = ['stomp', 'webStomp']) {
  const folder = await mkdtemp(path.join(tmpdir(), 'stentor-rabbitmq-'));
  const [epmdPort, distribution, ...free] = await freePorts(2 + doors.length);
  const ports = Object.fromEntries(doors.map((door, i) => [door, free[i]]));
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
      [
        ...(ports.amqp ? [] : ['listeners.tcp = none']),
        ...doors.map((door) => DOORS[door].settings(ports[door])),
        // What else rabbitmq_web_stomp brings with it stays shut.
        ...(doors.includes('webStomp') && !ports.stomp ? ['stomp.listeners.tcp = none'] : []),
        'disk_free_limit.absolute = 1MB',
        'log.console = true',
        'log.console.level = error',
        'log.file = false',
        '',
      ].join('\n'),
    );
    const plugins = doors.flatMap((door) => DOORS[door].plugin ?? []);
    await writeFile(path.join(folder, 'enabled_plugins'), `[${plugins}].\n`);
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
    const ready = Promise.all(
      doors.map((door) => eventually(START, `RabbitMQ to answer at its door ${door}`, () => DOORS[door].ready(ports[door]))),
    );
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
  return faceOf(ports, stop);
}

const faceOf = (ports, stop) => ({
  ports,
  url: `amqp://guest:guest@127.0.0.1:${ports.amqp}`,
  port: ports.stomp,
  webPort: ports.webStomp,
  stop,
});

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

async function accepts(port) {
  (await reach(port)).destroy();
  return true;
}

/** The vhost is up when a channel can be had. */
async function speaksAmqp(port) {
  const connection = await within(5000, amqp.connect(`amqp://guest:guest@127.0.0.1:${port}`), 'an answer');
  connection.on('error', () => {});
  try {
    await connection.createChannel();
    return true;
  } finally {
    await connection.close();
  }
}

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
