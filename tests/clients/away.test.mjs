// A page in Chromium that is away for a while: its tab is frozen in the background, its laptop sleeps, its network stalls. When it
// is back it has every event once and in order, and the newest value of a snapshot, on each kind of transport.
//
// AWAY_SECONDS sets how long it is away.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, openPage, servePage } from './support/browser.mjs';
import { lineTo } from './support/line.mjs';
import { canStart, startServer } from './support/server.mjs';
import { connect, publish } from './support/stomp.mjs';

const AWAY = Number(process.env.AWAY_SECONDS ?? 3) * 1000;
const TRANSPORTS = ['websocket', 'xhr-streaming', 'xhr-polling'];
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const pageOf = (url, transport, topic) => `<!doctype html><title>Away</title>
  <script src="/sockjs.js"></script><script src="/stomp.js"></script>
  <script type="module">
    import { follow } from '/channel.mjs';
    window.seen = { events: [], newest: undefined, gaps: [], connects: 0 };
    const client = new StompJs.Client({
      webSocketFactory: () => new SockJS('${url}/ws', null, { transports: '${transport}' }),
      reconnectDelay: 200,
      heartbeatIncoming: 1000,
      heartbeatOutgoing: 1000,
      onConnect: () => { seen.connects += 1; },
    });
    follow(client, '/topic/tasklog:${topic}', { onValue: (value) => seen.events.push(value), onGap: (reason) => seen.gaps.push(reason) });
    follow(client, '/topic/host-metrics:${topic}', { delta: true, onValue: (value) => { seen.newest = value; } });
    client.activate();
  </script>`;

describe('a page that was away', { skip: !canStart() && 'needs servers of its own: set STENTOR_BIN' }, () => {
  let server;
  let browser;
  before(async () => {
    [server, browser] = await Promise.all([startServer(), launch()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** Publishes an event and a value, numbered, until told to stop: `{ stop }`, which gives how many there were. */
  function publishing(client, topic) {
    let goesOn = true;
    const done = (async () => {
      let number = 0;
      for (; goesOn; number += 1) {
        await publish(client, `/topic/tasklog:${topic}`, { body: JSON.stringify(number) });
        const value = { number, steady: 'x'.repeat(500) };
        await publish(client, `/topic/host-metrics:${topic}`, { body: JSON.stringify(value) });
        await sleep(50);
      }
      return number;
    })();
    return { stop: () => ((goesOn = false), done) };
  }

  /** Has a page listen while `away` takes it away and brings it back. */
  async function whileAway(t, transport, away) {
    const topic = `${transport}-${Math.random().toString(36).slice(2)}`;
    const line = await lineTo(t, server.url);
    const page = await openPage(t, browser);
    const publisher = await connect(t, server.url, { over: 'websocket' });
    await page.goto(await servePage(t, pageOf(line.url, transport, topic)));
    await page.waitForFunction(() => window.seen?.connects > 0, null, { timeout: 10_000 });
    const publications = publishing(publisher, topic);
    await page.waitForFunction(() => seen.events.length > 5 && seen.newest, null, { timeout: 10_000 });
    const begun = await page.evaluate(() => seen.events[0]);
    await away(page, line);
    const count = await publications.stop();
    await page.waitForFunction(
      (last) => seen.events.at(-1) === last && seen.newest?.number === last,
      count - 1,
      { timeout: 20_000 },
    );
    const seen = await page.evaluate(() => window.seen);
    const expected = Array.from({ length: count - begun }, (_, at) => begun + at);
    assert.deepEqual(seen.events, expected, 'every event, once and in order');
    assert.deepEqual(seen.gaps, []);
    return seen;
  }

  for (const transport of TRANSPORTS) {
    test(`${transport}: a tab that is frozen in the background`, async (t) => {
      await whileAway(t, transport, async (page) => {
        const session = await page.context().newCDPSession(page);
        await session.send('Page.setWebLifecycleState', { state: 'frozen' });
        await sleep(AWAY);
        await session.send('Page.setWebLifecycleState', { state: 'active' });
      });
    });

    test(`${transport}: a laptop that sleeps, and finds its connections gone`, async (t) => {
      const seen = await whileAway(t, transport, async (page, line) => {
        const session = await page.context().newCDPSession(page);
        await session.send('Page.setWebLifecycleState', { state: 'frozen' });
        line.cut();
        await sleep(AWAY);
        line.mend();
        await session.send('Page.setWebLifecycleState', { state: 'active' });
      });
      assert.ok(seen.connects > 1);
    });

    test(`${transport}: a network that stalls`, async (t) => {
      await whileAway(t, transport, async (_, line) => {
        line.stall();
        await sleep(AWAY);
        line.resume();
      });
    });
  }
});
