// Clients of other languages: a short program each (in programs/), which says `ok STEP` after each step that went as it should.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const STEPS = ['connect', 'topic', 'auto', 'client', 'client-individual', 'nack', 'transactions', 'large', 'binary', 'heart-beats', 'error'];
// In milliseconds, heart-beats and what a busy machine takes included.
const LIMIT = 90_000;
const folder = fileURLToPath(new URL('../programs', import.meta.url));

const runs = (command, args, fix) => () => spawnSync(command, args).status !== 0 && `${command} ${args.at(-1)} does not run: ${fix}`;

/** `missing` says why a program can't run here; `command` gives what runs it. */
export const PROGRAMS = {
  'stomp.py (Python)': {
    missing: runs('python3', ['-c', 'import ensurepip, venv'], 'scripts/apt-install.sh python3-venv'),
    command: async (t) => [await pythonWith(t, 'stomp.py==9.0.0'), [`${folder}/client.py`]],
    steps: STEPS,
  },
  'stomp (Ruby)': {
    missing: runs('ruby', ['-e', 'require "stomp"'], 'scripts/apt-install.sh ruby-stomp'),
    command: () => ['ruby', [`${folder}/client.rb`]],
    steps: STEPS,
  },
  'Net::Stomp (Perl)': {
    missing: runs('perl', ['-e', 'use Net::Stomp'], 'scripts/apt-install.sh libnet-stomp-perl'),
    command: () => ['perl', [`${folder}/client.pl`]],
    // It has no heart-beats.
    steps: STEPS.filter((step) => step !== 'heart-beats'),
  },
  'stomp (PHP)': {
    missing: runs('php', ['-r', 'exit(extension_loaded("stomp") ? 0 : 1);'], 'scripts/apt-install.sh php-cli php-stomp'),
    command: () => ['php', [`${folder}/client.php`]],
    // It has no heart-beats either.
    steps: STEPS.filter((step) => step !== 'heart-beats'),
  },
};

/** Runs a program against the server: the steps that it did, and all its output. */
export async function runProgram(t, program, server) {
  const [command, args] = await program.command(t);
  const words = [server.tcpPort, server.login, server.passcode, server.ours ? 'ours' : 'theirs'].map(String);
  const child = spawn(command, [...args, ...words], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PYTHONUNBUFFERED: '1' } });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const late = setTimeout(kill, LIMIT);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const [code, signal] = await once(child, 'close');
  clearTimeout(late);
  process.off('exit', kill);
  assert.equal(signal ?? code, 0, `${command} ended so:\n${output}`);
  return { done: [...output.matchAll(/^ok (.*)$/gm)].map(([, step]) => step), output };
}

/** A Python with a package from PyPI, in a folder of its own. */
async function pythonWith(t, requirement) {
  const venv = await mkdtemp(path.join(tmpdir(), 'stentor-python-'));
  t.after(() => rm(venv, { recursive: true, force: true }));
  await succeed('python3', ['-m', 'venv', venv]);
  const python = path.join(venv, 'bin', 'python');
  await succeed(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement]);
  return python;
}

async function succeed(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 180_000 });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const [code, signal] = await once(child, 'close');
  assert.equal(signal ?? code, 0, `${command} ${args.join(' ')}:\n${output}`);
}
