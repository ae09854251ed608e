// Three nodes as one broker, for pages: a node that dies under them, what the dashboard shows of it, and `make cluster`, which
// starts and ends all that. What the other suites try of one server, `npm run test:cluster` tries of three.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { follow } from '../../examples/stompjs/channel.mjs';
import { launch, openPage } from './support/browser.mjs';
import { startCluster } from './support/cluster.mjs';
import { nginx } from './support/nginx.mjs';
import { missing } from './support/rabbitmq.mjs';
import { canStart } from './support/server.mjs';
import { connect, freshTopic, publish, subscribe } from './support/stomp.mjs';
import { eventually, within } from './support/wait.mjs';

const skip = missing() ?? (!nginx ? 'there is no nginx: install the package nginx' : !canStart() && 'needs nodes of its own: set STENTOR_BIN');
const EVENTS = '/topic/task-events';
/** For a client to find out that its node is gone, and to come back by another. */
const PATIENCE = 30_000;

describe('three nodes', { skip }, () => {
  let cluster;
  let browser;
  before(async () => {
    cluster = await startCluster();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await cluster?.stop();
  });

  test('the proxy gives each request to another node, and what one is told all know', async (t) => {
    const topic = freshTopic();
    const clients = [];
    for (let i = 0; i < 3; i += 1) clients.push(await connect(t, cluster.url, { over: 'websocket' }));
    const open = await Promise.all(cluster.urls.map(async (url) => (await (await fetch(`${url}/metrics`)).text()).match(/^stentor_connections\{[^}]*websocket[^}]*\} (\d+)$/m)?.[1]));
    assert.deepEqual(open, ['1', '1', '1']);
    const inboxes = await Promise.all(clients.map((client) => subscribe(client, topic)));
    for (const [i, client] of clients.entries()) await publish(client, topic, { body: `from ${i}` });
    for (const inbox of inboxes) {
      const messages = await inbox.atLeast(3);
      assert.deepEqual(messages.map(({ body }) => body), ['from 0', 'from 1', 'from 2']);
    }
  });

  test('what a client sends as soon as its session is open finds it from every node', async () => {
    const statuses = [];
    for (let i = 0; i < 300; i += 1) {
      const session = `${cluster.url}/ws/000/${randomUUID()}`;
      const { body } = await fetch(`${session}/xhr_streaming`, { method: 'POST' });
      const reader = body.getReader();
      for (let text = ''; !text.includes('o\n'); ) text += Buffer.from((await reader.read()).value);
      const sent = await fetch(`${session}/xhr_send`, { method: 'POST', body: String.raw`["CONNECT\naccept-version:1.2\n\n\u0000"]` });
      statuses.push(sent.status);
      await reader.cancel();
    }
    assert.deepEqual(tally(statuses), { 204: 300 });
  });

  test('the dashboard lists them', async (t) => {
    const page = await openPage(t, browser);
    await page.goto(cluster.url);
    await page.getByTestId('nodes').waitFor({ timeout: 10_000 });
    const names = await page.locator('#node-rows th').allTextContents();
    assert.deepEqual(names, ['n1', 'n2', 'n3']);
    await page.waitForFunction(() => document.getElementById('nodes-note').textContent === '3, all well', null, { timeout: 10_000 });
    const { nodes } = await (await fetch(`${cluster.url}/api/v1/nodes`)).json();
    assert.deepEqual(nodes.map(({ node }) => node).sort(), ['n1', 'n2', 'n3']);
    assert.deepEqual(page.complaints, []);
  });

  for (const transport of ['websocket', 'xhr-streaming']) {
    test(`a page whose node is killed comes back by another and misses no event, by ${transport}`, { timeout: 120_000 }, async (t) => {
      const run = randomUUID();
      const client = new Client({
        webSocketFactory: () => new SockJS(`${cluster.url}/ws`, null, { transports: [transport], timeout: 10_000 }),
        reconnectDelay: 100,
        heartbeatIncoming: 1000,
        heartbeatOutgoing: 1000,
      });
      t.after(() => client.deactivate({ force: true }));
      let connects = 0;
      const [seen, gaps] = [[], []];
      const feed = follow(client, EVENTS, {
        onValue: ({ task_id: id, progress }) => id === run && seen.push(progress),
        onGap: (reason) => gaps.push(reason),
      });
      client.onConnect = () => (connects += 1);
      client.activate();
      await eventually(PATIENCE, 'the page to be subscribed', () => feed.cursor !== undefined);
      // Whose page it is shows in the node's own count.
      const counts = () => Promise.all(cluster.nodes.map(async ({ url }) => connections(await (await fetch(`${url}/metrics`)).text())));
      const at = await eventually(5000, 'a node with the page', async () => (await counts()).indexOf(1) + 1) - 1;
      const publisher = await connect(t, cluster.urls[(at + 1) % 3], { over: 'websocket' });
      let published = 0;
      const more = async (count) => {
        for (let i = 0; i < count; i += 1) {
          await publish(publisher, EVENTS, { body: JSON.stringify({ task_id: run, progress: (published += 1) }) });
        }
      };
      await more(50);
      await eventually(PATIENCE, 'the first events', () => seen.length > 10);
      cluster.nodes[at].kill();
      t.after(() => cluster.restart(at));
      await more(100);
      await eventually(PATIENCE, 'the page to come back', () => connects > 1);
      await more(50);
      await eventually(PATIENCE, 'the last event', () => seen.at(-1) === published);
      assert.deepEqual(seen, Array.from({ length: published }, (_, i) => i + 1));
      assert.deepEqual(gaps, []);
    });
  }
});

const tally = (names) => names.reduce((counts, name) => ({ ...counts, [name]: (counts[name] ?? 0) + 1 }), {});

/** Connections by what a node says of itself. */
const connections = (metrics) => [...metrics.matchAll(/^stentor_connections\{[^}]*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);

describe('make cluster', { skip }, () => {
  const SCRIPT = fileURLToPath(new URL('../../scripts/cluster.sh', import.meta.url));
  const NODES = 3;
  /** From the proxy's port on, all that the script takes. */
  const SPAN = 24;

  /** A port of which the following ones are free too, below those that the system gives away. */
  async function freeRange() {
    for (;;) {
      const from = 20_000 + SPAN * Math.floor(Math.random() * 400);
      const taken = await Promise.all(Array.from({ length: SPAN }, (_, i) => isFree(from + i)));
      if (taken.every(Boolean)) return from;
    }
  }
  async function isFree(port) {
    const server = createServer();
    try {
      await once(server.listen(port, '127.0.0.1'), 'listening');
      return true;
    } catch {
      return false;
    } finally {
      server.close();
    }
  }

  /** Ids of processes that mention `text` in their command line or work in a folder of that name. */
  async function processes(text) {
    const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const mentions = async (id) => {
      const told = await Promise.all([readFile(`/proc/${id}/cmdline`, 'utf8'), readlink(`/proc/${id}/cwd`)]).catch(() => []);
      return told.some((each) => each.includes(text));
    };
    const found = await Promise.all(ids.map(async (id) => ((await mentions(id)) ? [id] : [])));
    return found.flat();
  }

  test('starts nodes that know each other, brings back one that is killed, and leaves nothing behind', { timeout: 200_000 }, async (t) => {
    const port = await freeRange();
    const program = process.env.STENTOR_BIN ?? fileURLToPath(new URL('../../target/debug/stentor', import.meta.url));
    const script = spawn('bash', [SCRIPT], {
      env: { ...process.env, STENTOR_BIN: program, CLUSTER_PORT: String(port), CLUSTER_NODES: String(NODES) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.after(() => script.kill('SIGTERM'));
    const exited = once(script, 'exit');
    let output = '';
    for (const stream of [script.stdout, script.stderr]) stream.on('data', (chunk) => (output += chunk));
    const running = eventually(150_000, 'the cluster to run', () => /running; ctrl-c/.test(output) || script.exitCode !== null);
    await running.catch((error) => assert.fail(`${error.message}; its output:\n${output}`));
    assert.equal(script.exitCode, null, `it ended:\n${output}`);
    const folder = /(\S*stentor-cluster-\w+)/.exec(output)?.[1];
    assert.ok(folder, output);
    assert.equal((await fetch(`http://127.0.0.1:${port}/ws/info`)).status, 200);

    const topic = freshTopic();
    const far = await connect(t, `http://127.0.0.1:${port + NODES}`, { over: 'websocket' });
    const inbox = await subscribe(far, topic);
    await publish(await connect(t, `http://127.0.0.1:${port + 1}`), topic, { body: 'across' });
    assert.equal((await inbox.atLeast(1))[0].body, 'across');

    const victim = Number(/n2 .*process (\d+)/.exec(output)[1]);
    process.kill(victim, 'SIGKILL');
    await eventually(20_000, 'n2 to be back', async () => /n2 is process \d+/.test(output) && (await fetch(`http://127.0.0.1:${port + 2}/ws/info`)).ok);

    assert.ok((await processes(folder)).length > NODES, 'what it started is found by its folder');
    script.kill('SIGINT');
    const [code] = await within(40_000, exited, () => `the script to end; its output:\n${output}`);
    assert.equal(code, 130, output);
    await eventually(5000, 'every process to be gone', async () => (await processes(folder)).length === 0);
    await assert.rejects(readdir(folder), { code: 'ENOENT' });
  });
});
