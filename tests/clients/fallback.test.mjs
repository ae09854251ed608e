// Behind proxies: a client that is left to itself finds a transport that works there. The proxy is nginx, in front of a
// server of our own: one that passes WebSockets, one that does not, and one that also keeps answers until they end.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { launch, openPage } from './support/browser.mjs';
import { Carried } from './support/carried.mjs';
import { nginx, startProxies } from './support/nginx.mjs';
import { canStart, startServer } from './support/server.mjs';
import { freshTopic } from './support/stomp.mjs';

const EXPECTED = { 'passes all': 'websocket', 'refuses upgrades': 'xhr-streaming', 'refuses upgrades and buffers': 'xhr-polling' };
const CHARTS = ['cpu-chart', 'mem-chart', 'net-chart', 'events-chart'];

const skip = !canStart()
  ? 'needs a server of its own: set STENTOR_BIN'
  : !nginx && 'there is no nginx: install the package nginx, or set NGINX';

describe('behind a proxy', { skip }, () => {
  let server;
  let proxies;
  let browser;
  before(async () => {
    [server, browser] = await Promise.all([startServer(), launch()]);
    proxies = await startProxies(server.port);
  });
  after(async () => {
    await browser?.close();
    await proxies?.stop();
    await server?.stop();
  });

  for (const [manner, transport] of Object.entries(EXPECTED)) {
    test(`that ${manner}, a client takes ${transport}`, async (t) => {
      const client = new Carried(SockJS, Client, proxies.url[manner], {});
      t.after(() => client.vanish());
      assert.equal(await client.connect(), transport);
      const topic = freshTopic();
      await client.subscribe(topic);
      const bodies = Array.from({ length: 200 }, (_, i) => `message ${i}`);
      for (let sent = 0; sent < bodies.length; sent += 50) {
        await client.publish(topic, bodies.slice(sent, sent + 50));
        await client.bodies(sent + 50);
      }
      assert.deepEqual(await client.bodies(bodies.length), bodies);
      const body = 'ä"\0'.repeat(50_000);
      await client.publish(topic, [body]);
      assert.ok((await client.bodies(bodies.length + 1)).at(-1) === body, 'a large message comes back');
      const { closes, errors } = await client.leave();
      assert.deepEqual([closes.length, errors], [1, []]);
    });

    test(`that ${manner}, the dashboard shows figures that move, by ${transport}`, async (t) => {
      const page = await openPage(t, browser);
      await page.goto(proxies.url[manner]);
      await page.waitForFunction(() => document.querySelector('[data-testid="connection-state"]').textContent.includes('Live'), null, {
        timeout: 30_000,
      });
      assert.equal(await page.getByTestId('transport').textContent(), transport);
      const ticks = (ids) => ids.map((id) => Number(document.getElementById(id)?.dataset.ticks ?? 0));
      const from = await page.evaluate(ticks, CHARTS);
      await page.waitForFunction(
        ([ids, before]) => ids.every((id, i) => Number(document.getElementById(id)?.dataset.ticks ?? 0) >= before[i] + 3),
        [CHARTS, from],
        { timeout: 10_000 },
      );
      // Chromium itself complains of a handshake that was refused; nothing else is to complain.
      assert.deepEqual(
        page.complaints.filter((text) => !/WebSocket connection to .* failed/.test(text)),
        [],
      );
    });
  }
});
