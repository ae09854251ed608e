// nginx in front of the server under test, as a child of the test with its own folder, on free ports.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
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
  const folder = await mkdtemp(path.join(tmpdir(), 'stentor-nginx-'));
  const ports = await freePorts(Object.keys(MANNERS).length);
  const servers = Object.values(MANNERS).map(
    (manner, i) => `server {
        listen 127.0.0.1:${ports[i]};
        location / { proxy_pass http://127.0.0.1:${port}; proxy_set_header Host $http_host; ${manner} }
      }`,
  );
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
  await writeFile(
    path.join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr warn;
    events { worker_connections 512; }
    http {
      access_log off; client_max_body_size 8m; ${temporary.join(' ')}
      map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      ${servers.join('\n')}
    }`,
  );
  const child = spawn(nginx, ['-p', folder, '-c', path.join(folder, 'nginx.conf'), '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  child.stderr.on('data', (chunk) => (output += chunk));
  const exited = once(child, 'exit');
  const ended = exited.then(() => Promise.reject(new Error(`nginx ended:\n${output}`)));
  ended.catch(() => {});

  const url = Object.fromEntries(Object.keys(MANNERS).map((name, i) => [name, `http://127.0.0.1:${ports[i]}`]));
  const stop = async () => {
    child.kill('SIGTERM');
    await within(10_000, exited, 'nginx to end').finally(kill);
    process.off('exit', kill);
    await rm(folder, { recursive: true, force: true });
  };
  const ready = eventually(10_000, 'nginx to answer', async () => (await fetch(url['passes all'])).status < 500);
  await Promise.race([ready, ended]);
  return { url, stop };
}
