// One node: Stentor's program (STENTOR_BIN, else the debug build), started on a free port of the loopback and ended by
// SIGTERM, which it must answer with exit code 0.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WITH_PARENT } from './child.mjs';
import { eventually, within } from './wait.mjs';

const DEBUG_BUILD = fileURLToPath(new URL('../../../target/debug/stentor', import.meta.url));
const ADDRESS = /http:\/\/127\.0\.0\.1:(\d+)/;
const START = 15_000;
const STOP = 15_000;

/** A node without a past: `{ url, port, stop, kill }`, which may be killed instead of stopped. `settings` are variables of its environment. */
export async function startNode(port = 0, args = [], settings = {}) {
  const [command, ...words] = [...WITH_PARENT, binary(), 'serve', '--listen', `127.0.0.1:${port}`, ...args];
  const child = spawn(command, words, {
    env: { ...cleanEnvironment(), ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let killed = false;
  const kill = () => {
    killed = true;
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  const exited = once(child, 'exit');
  exited.catch(() => {});
  let output = '';
  const address = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const found = ADDRESS.exec(output);
      if (found) resolve(found);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.on('error', reject);
    child.on('exit', (code, signal) => reject(new Error(`the server ended at start (${signal ?? code}):\n${output}`)));
  });
  const [url, bound] = await within(START, address, () => `an address on the server's output, which is:\n${output}`);
  await eventually(START, `${url} to answer`, async () => (await fetch(`${url}/api/v1/events/health`)).ok);

  const stop = async () => {
    if (killed) return void (await within(STOP, exited, 'the server to end, killed'));
    child.kill('SIGTERM');
    try {
      const [code, signal] = await within(STOP, exited, () => `the server to end after SIGTERM; its output:\n${output}`);
      assert.equal(signal ?? code, 0, `exit after SIGTERM; output:\n${output}`);
    } finally {
      kill();
      process.off('exit', kill);
    }
  };
  return { url, port: Number(bound), stop, kill };
}

/** Whether the program can take STOMP over TCP. */
export function hasTcp() {
  const { stdout } = spawnSync(binary(), ['serve', '--help'], { env: cleanEnvironment(), encoding: 'utf8' });
  return /--tcp\b(?!.*not yet there)/.test(stdout);
}

function binary() {
  const path = process.env.STENTOR_BIN ?? DEBUG_BUILD;
  if (existsSync(path)) return path;
  throw new Error(`no server at ${path}: build it (cargo build), or set STENTOR_BIN to a binary or STENTOR_URL to a running server`);
}

/** Without our own variables, which the server would take for settings that it does not know. */
function cleanEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('STENTOR_')));
}
