// nginx in front of the servers under test, as a child of the test with its own folder, on free ports.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { WITH_PARENT } from './child.mjs';
import { freePorts } from './ports.mjs';
import { eventually, within } from './wait.mjs';

const PLACES = [process.env.NGINX, '/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx'];
export const nginx = PLACES.find((place) => place && existsSync(place));

/** What each proxy does with what passes. */
const MANNERS = {
  // As nginx is when nothing but the target is set: HTTP/1.0 behind it, no word of upgrades, and answers without a
  // length kept until they end, unless X-Accel-Buffering says not to.
  'refuses upgrades': '',
  'refuses upgrades and buffers': 'proxy_ignore_headers X-Accel-Buffering;',
  'passes all': 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;',
};

/** Proxies in front of the server at `port`: `{ url, stop }`, where `url` has one for each manner. */
export async function startProxies(port) {
  const ports = await freePorts(Object.keys(MANNERS).length);
  const servers = Object.values(MANNERS).map(
    (manner, i) => `server {
        listen 127.0.0.1:${ports[i]};
        location / { proxy_pass http://127.0.0.1:${port}; proxy_set_header Host $http_host; ${manner} }
      }`,
  );
  const url = Object.fromEntries(Object.keys(MANNERS).map((name, i) => [name, `http://127.0.0.1:${ports[i]}`]));
  return { url, stop: await start(servers, url['passes all']) };
}

/** A proxy that gives each request to the server after the one before, of those at `ports`: `{ url, port, stop }`. */
export async function startBalancer(ports) {
  const [port] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  // A server that is away is asked again at its next turn.
  const upstream = `upstream nodes { ${ports.map((each) => `server 127.0.0.1:${each} max_fails=0;`).join(' ')} }`;
  const server = `server {
      listen 127.0.0.1:${port};
      location / {
        proxy_pass http://nodes; proxy_set_header Host $http_host; ${MANNERS['passes all']}
        proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 1h; proxy_send_timeout 1h;
      }
    }`;
  return { url, port, stop: await start([upstream, server], url) };
}

/** nginx with these parts of `http`, once `url` answers; gives the function that stops it. */
async function start(parts, url) {
  const folder = await mkdtemp(path.join(tmpdir(), 'stentor-nginx-'));
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
  await writeFile(
    path.join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr warn;
    events { worker_connections 1024; }
    http {
      access_log off; client_max_body_size 8m; ${temporary.join(' ')}
      map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      ${parts.join('\n')}
    }`,
  );
  const [command, ...words] = [...WITH_PARENT, nginx, '-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'];
  const child = spawn(command, words, {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  child.stderr.on('data', (chunk) => (output += chunk));
  const exited = once(child, 'exit');
  const ended = exited.then(() => Promise.reject(new Error(`nginx ended:\n${output}`)));
  ended.catch(() => {});

  const stop = async () => {
    child.kill('SIGTERM');
    await within(10_000, exited, 'nginx to end').finally(kill);
    process.off('exit', kill);
    await rm(folder, { recursive: true, force: true });
  };
  const ready = eventually(10_000, 'nginx to answer', async () => (await fetch(url)).status < 500);
  try {
    await Promise.race([ready, ended]);
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  return stop;
}
