// stomp.js over each transport of sockjs-client, in Node and in Chromium: one at a time, since a client left to itself
// takes the first that works. In Chromium the page is of another origin than the server, as iframes and JSONP are for.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { launch, openPage, servePage } from './support/browser.mjs';
import { Carried } from './support/carried.mjs';
import { canStart, startServer } from './support/server.mjs';
import { connect, freshTopic, publish, subscribe } from './support/stomp.mjs';
import { eventually } from './support/wait.mjs';

/** Those that sockjs-client 1.6 can be made to use in Node. */
const IN_NODE = ['websocket', 'xhr-streaming', 'xhr-polling', 'eventsource'];
const IN_CHROMIUM = [...IN_NODE, 'iframe-eventsource', 'iframe-htmlfile', 'iframe-xhr-polling', 'jsonp-polling'];
/** A transport has its turn for so long; unless told, sockjs-client gives it less than a busy machine may need. */
const options = (transport) => ({ transports: [transport], timeout: 10_000 });

const MESSAGES = 1000;
/** Messages under way at once: fewer than an outbox holds. */
const WINDOW = 100;
const ODD = [
  '',
  Array.from({ length: 0x20 }, (_, i) => String.fromCharCode(i)).join(''),
  'before\0between\0\0after',
  '\u007f\u0085\u00a0\u00ad \u200b\u200c\u200d\u200e\u200f \u2028\u2029\u202a\u202e \u2060\u206f \ufeff\ufff0\ufffd\uffff',
  '😀 👩‍👩‍👧 𝄞 \u{10ffff} e\u0301 漢字 Ωμέγα',
  '</script><script>alert(1)</script><!-- & &amp; %41 %25 100% + "\'\\/',
  'a["o"]\nc[3000,"Go away!"]\r\ndata: h\r\n\r\n',
];
/** Of that many octets, with what is quoted, escaped and encoded in it. */
const large = (octets) => 'ä"%\n+</0123456789abcdef ghijk'.repeat(octets / 28).slice(0, octets - octets / 28);

let server;
let browser;

/** How many connections the server has, all nodes of it together. */
async function connections() {
  const texts = await Promise.all(server.urls.map(async (url) => (await fetch(`${url}/metrics`)).text()));
  return [...texts.join('\n').matchAll(/^stentor_connections\{[^}]*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
}
const untilConnections = (n) => eventually(15_000, `${n} connections on the server`, async () => (await connections()) === n);

/** A client in Node. */
async function inNode(t, transport) {
  const carried = new Carried(SockJS, Client, server.url, options(transport));
  t.after(() => carried.vanish());
  return carried;
}

/** A client in a page of its own. Its methods are those of `Carried`; `page` is the page. */
async function inChromium(t, transport) {
  const page = await openPage(t, browser);
  await page.goto(
    await servePage(
      t,
      `<!doctype html><title>${transport}</title><script src="/sockjs.js"></script><script src="/stomp.js"></script>
      <script type="module">
        import { Carried } from '/carried.mjs';
        window.carried = new Carried(SockJS, StompJs.Client, ${JSON.stringify(server.url)}, ${JSON.stringify(options(transport))});
      </script>`,
    ),
  );
  await page.waitForFunction(() => window.carried);
  const call =
    (name) =>
    (...given) =>
      page.evaluate(([method, values]) => window.carried[method](...values), [name, given]);
  return new Proxy({ page }, { get: (own, name) => (name === 'then' ? undefined : (own[name] ?? call(name))) });
}

function suite(transport, open) {
  test('is the one in use, and the session ends when its client leaves', async (t) => {
    await untilConnections(0);
    const client = await open(t, transport);
    assert.equal(await client.connect(), transport);
    assert.equal(await connections(), 1);
    const { closes, errors } = await client.leave();
    assert.deepEqual(errors, []);
    assert.equal(closes.length, 1);
    await untilConnections(0);
  });

  test('the session ends when its client vanishes', async (t) => {
    await untilConnections(0);
    const client = await open(t, transport);
    await client.connect();
    await client.subscribe(freshTopic());
    assert.equal(await connections(), 1);
    await (client.page ? client.page.close() : client.vanish());
    await untilConnections(0);
  });

  test(`${MESSAGES} messages each way, in order`, async (t) => {
    const [client, peer] = [await open(t, transport), await connect(t, server.url)];
    await client.connect();
    const [there, back] = [freshTopic(), freshTopic()];
    const inbox = await subscribe(peer, there);
    await client.subscribe(back);
    const all = Array.from({ length: MESSAGES }, (_, i) => `message ${i}`);
    for (let sent = 0; sent < MESSAGES; sent += WINDOW) {
      await client.publish(there, all.slice(sent, sent + WINDOW));
      await inbox.atLeast(sent + WINDOW, 10_000);
    }
    assert.deepEqual(
      inbox.items.map(({ body }) => body),
      all,
    );
    for (let sent = 0; sent < MESSAGES; sent += WINDOW) {
      const part = all.slice(sent, sent + WINDOW);
      for (const body of part.slice(0, -1)) peer.publish({ destination: back, body });
      await publish(peer, back, { body: part.at(-1) });
      await client.bodies(sent + WINDOW);
    }
    assert.deepEqual(await client.bodies(MESSAGES), all);
  });

  test('large messages and odd characters each way', async (t) => {
    const [client, peer] = [await open(t, transport), await connect(t, server.url)];
    await client.connect();
    const [there, back] = [freshTopic(), freshTopic()];
    const inbox = await subscribe(peer, there);
    await client.subscribe(back);
    const bodies = [...ODD, large(100_000), large(900_000), 'and small again'];
    // One after the other: together the large ones are more than an outbox holds.
    for (const [i, body] of bodies.entries()) {
      await client.publish(there, [body]);
      const got = (await inbox.atLeast(i + 1, 20_000))[i].body;
      assert.ok(got === body, `to the server, ${i}: ${JSON.stringify(got.slice(0, 100))} of ${got.length}`);
    }
    for (const [i, body] of bodies.entries()) {
      await publish(peer, back, { body });
      const got = (await client.bodies(i + 1))[i];
      assert.ok(got === body, `from the server, ${i}: ${JSON.stringify(got.slice(0, 100))} of ${got.length}`);
    }
  });

  test('a close by the server comes after its ERROR, and the client comes back', async (t) => {
    const client = await open(t, transport);
    await client.connect();
    const topic = freshTopic();
    const { error, close } = await client.misbehave(topic);
    assert.match(error, /\*|wildcard|pattern/i);
    assert.ok(close.wasClean, `closed by a close frame: ${close.code} ${close.reason}`);
    assert.equal(await client.connected(2), transport);
    await client.subscribe(topic);
    await client.publish(topic, ['again']);
    assert.deepEqual(await client.bodies(1), ['again']);
  });
}

describe('transports', { skip: !canStart() && 'counts the connections of a server of its own: set STENTOR_BIN' }, () => {
  before(async () => {
    [server, browser] = await Promise.all([startServer(), launch()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
  for (const transport of IN_NODE) describe(`${transport} in Node`, () => suite(transport, inNode));
  for (const transport of IN_CHROMIUM) describe(`${transport} in Chromium`, () => suite(transport, inChromium));
});
