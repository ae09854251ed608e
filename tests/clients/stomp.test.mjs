// stomp.js over SockJS and over raw WebSocket: what its users rely on, version by version.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sharedServer } from './support/server.mjs';
import { CARRIERS, connect, freshTopic, publish, receipted, subscribe } from './support/stomp.mjs';
import { eventually } from './support/wait.mjs';

const VERSIONS = ['1.0', '1.1', '1.2'];
/** The subprotocol by which a version is known on a raw WebSocket. */
const subprotocol = (version) => `v${version.replace('.', '')}.stomp`;

let server;
before(async () => (server = await sharedServer()));
after(() => server?.stop());

for (const over of Object.keys(CARRIERS)) {
  describe(`stomp.js over ${over}`, () => {
    for (const version of VERSIONS) {
      test(`STOMP ${version}: connects, and a message comes back whole`, async (t) => {
        const client = await connect(t, server.url, { over, versions: [version] });
        assert.equal(client.connectedVersion, version);
        if (over === 'websocket') assert.equal(client.webSocket.protocol, subprotocol(version));

        const topic = freshTopic();
        const inbox = await subscribe(client, topic, { id: 'mine' });
        await publish(client, topic, { body: 'hello', headers: { 'content-type': 'text/plain;charset=utf-8', plain: 'as it is' } });
        const [{ body, headers }] = await inbox.atLeast(1);
        assert.equal(body, 'hello');
        assert.equal(headers.destination, topic);
        assert.equal(headers.subscription, 'mine');
        assert.equal(headers['content-type'], 'text/plain;charset=utf-8');
        assert.equal(headers.plain, 'as it is');
        assert.ok(headers['message-id']);
        assert.equal(headers.receipt, undefined, 'the receipt header is between publisher and server');
      });
    }

    test('the highest common version is chosen, whatever the order', async (t) => {
      const client = await connect(t, server.url, { over, versions: ['1.0', '1.2', '1.1'] });
      assert.equal(client.connectedVersion, '1.2');
    });

    test('odd characters in headers come back as they were', async (t) => {
      // stomp.js 7 escapes and unescapes in 1.2 only, and there one escape after another: a backslash before n, r or c
      // does not survive its own reading. It also trims values.
      const headers = {
        colon: 'a:b::c:',
        newline: 'one\ntwo\n\nthree',
        return: 'one\r\ntwo\rthree',
        backslash: 'back\\slash \\\\ \\',
        unicode: 'Grüße ☂ \u2028 \u200d 𝄞',
      };
      const client = await connect(t, server.url, { over, versions: ['1.2'] });
      const topic = freshTopic();
      const inbox = await subscribe(client, topic);
      await publish(client, topic, { headers });
      const [message] = await inbox.atLeast(1);
      for (const [name, value] of Object.entries(headers)) assert.equal(message.headers[name], value, name);
    });

    test('bodies: none, odd characters, one with NUL in it, one megabyte', async (t) => {
      const client = await connect(t, server.url, { over });
      const topic = freshTopic();
      const inbox = await subscribe(client, topic);
      const bodies = [
        '',
        'Ωμέγα — 漢字 𝄞 👩‍👩‍👧 \u200c\u200d\u2028\u2029\u2060\ufeff\ufff0\uffff \u0001\u001f\u007f "quoted" \\ / </script>',
        'before\0after\0',
        '\n\n leading and trailing \r\n\n',
        'ä0123456789abcde'.repeat(65_536).slice(0, 1_048_576),
      ];
      for (const body of bodies) await publish(client, topic, { body });
      const messages = await inbox.atLeast(bodies.length);
      bodies.forEach((body, i) => assert.ok(messages[i].body === body, `body ${i}: ${messages[i].body.slice(0, 80)}`));
    });

    test('a large frame sent in pieces is put together again', async (t) => {
      const client = await connect(t, server.url, { over, splitLargeFrames: true, maxWebSocketChunkSize: 8 * 1024 });
      const topic = freshTopic();
      const inbox = await subscribe(client, topic);
      const body = 'π ist drei Komma eins vier. '.repeat(4000);
      await publish(client, topic, { body });
      const [message] = await inbox.atLeast(1);
      assert.ok(message.body === body);
    });

    test('after the receipt of UNSUBSCRIBE nothing more comes', async (t) => {
      const client = await connect(t, server.url, { over });
      const [gone, kept] = [freshTopic(), freshTopic()];
      const left = await subscribe(client, gone);
      const stays = await subscribe(client, kept);
      await publish(client, gone, { body: '1' });
      await left.atLeast(1);
      const stray = [];
      client.onUnhandledMessage = ({ body }) => stray.push(body);
      await left.unsubscribe();
      await publish(client, gone, { body: '2' });
      await publish(client, kept, { body: 'later' });
      await stays.atLeast(1);
      assert.deepEqual(left.items.map(({ body }) => body), ['1']);
      assert.deepEqual(stray, []);
    });

    test('two subscriptions to one destination each get their copy', async (t) => {
      const client = await connect(t, server.url, { over });
      const topic = freshTopic();
      const first = await subscribe(client, topic, { id: 'first' });
      const second = await subscribe(client, topic, { id: 'second' });
      for (const body of ['1', '2', '3']) client.publish({ destination: topic, body });
      for (const [inbox, id] of [[first, 'first'], [second, 'second']]) {
        const messages = await inbox.atLeast(3);
        assert.deepEqual(messages.map(({ body, headers }) => [headers.subscription, body]), ['1', '2', '3'].map((n) => [id, n]));
      }
    });

    test('wildcards: * is one segment, a final # any number', async (t) => {
      const client = await connect(t, server.url, { over });
      const base = freshTopic();
      const one = await subscribe(client, `${base}.*`);
      const any = await subscribe(client, `${base}.#`);
      const end = await subscribe(client, `${base}-end`);
      for (const name of ['', '.b', ':c', '.b.c', '.b/c:d', 'x.b']) client.publish({ destination: `${base}${name}`, body: name });
      client.publish({ destination: `${base}-end` });
      await end.atLeast(1);
      const bodies = (inbox) => inbox.items.map(({ body }) => body);
      assert.deepEqual(bodies(one), ['.b', ':c']);
      assert.deepEqual(bodies(any), ['', '.b', ':c', '.b.c', '.b/c:d']);
      assert.equal(one.items[1].headers.destination, `${base}:c`, 'a MESSAGE names where it was sent, not the pattern');
    });

    test('an ERROR names the fault, and the connection closes', async (t) => {
      const client = await connect(t, server.url, { over });
      const topic = freshTopic();
      await subscribe(client, topic, { id: 'taken' });
      client.subscribe(freshTopic(), () => {}, { id: 'taken', receipt: 'of-the-bad-one' });
      const error = await client.errors.first(() => true, 'an ERROR');
      assert.match(`${error.headers.message}\n${error.body}`, /taken|in use/i);
      assert.equal(error.headers['receipt-id'], 'of-the-bad-one');
      await client.closes.first(() => true, 'the connection to close');
    });

    test('a destination to which nobody may send is an ERROR that says so', async (t) => {
      const client = await connect(t, server.url, { over });
      client.publish({ destination: `${freshTopic()}.*`, body: 'x' });
      const error = await client.errors.first(() => true, 'an ERROR');
      assert.match(`${error.headers.message}\n${error.body}`, /\*|wildcard|destination/i);
      await client.closes.first(() => true, 'the connection to close');
    });

    test('heart-beats of one second are kept', async (t) => {
      let beats = 0;
      const client = await connect(t, server.url, {
        over,
        heartbeatIncoming: 1000,
        heartbeatOutgoing: 1000,
        onHeartbeatReceived: () => (beats += 1),
        onHeartbeatLost: () => assert.fail('a heart-beat was lost'),
      });
      await eventually(6000, 'three heart-beats', () => beats >= 3);
      assert.deepEqual(client.closes.items, []);
    });

    test('DISCONNECT gets its receipt before the connection closes', async (t) => {
      let receipt;
      const client = await connect(t, server.url, { over, onDisconnect: (frame) => (receipt = frame.command) });
      await client.deactivate();
      assert.equal(receipt, 'RECEIPT');
      const [close] = await client.closes.atLeast(1);
      assert.ok(close.wasClean, `closed with ${close.code}`);
      assert.deepEqual(client.errors.items, []);
    });
  });
}

for (const [from, to] of [['sockjs', 'websocket'], ['websocket', 'sockjs']]) {
  test(`a thousand messages from ${from} to ${to}, in order, none lost, none twice`, async (t) => {
    const publisher = await connect(t, server.url, { over: from });
    const subscriber = await connect(t, server.url, { over: to });
    const topic = freshTopic();
    const inbox = await subscribe(subscriber, topic);
    const total = 1000;
    const window = 100;
    for (let sent = 0; sent < total; sent += 1) {
      if (sent >= window) await inbox.atLeast(sent - window);
      publisher.publish({ destination: topic, body: String(sent) });
    }
    const messages = await inbox.atLeast(total);
    assert.deepEqual(messages.map(({ body }) => Number(body)), Array.from({ length: total }, (_, i) => i));
    assert.equal(new Set(messages.map(({ headers }) => headers['message-id'])).size, total);
  });
}

describe('binary bodies', () => {
  const octets = Uint8Array.from({ length: 512 }, (_, i) => i & 255);

  test('come back octet by octet on a raw WebSocket', async (t) => {
    const client = await connect(t, server.url, { over: 'websocket' });
    const topic = freshTopic();
    const inbox = await subscribe(client, topic);
    await publish(client, topic, { binaryBody: octets, headers: { 'content-type': 'application/octet-stream' } });
    const [message] = await inbox.atLeast(1);
    assert.deepEqual(message.binaryBody, octets);
    assert.equal(message.headers['content-type'], 'application/octet-stream');
  });

  test('reach SockJS, which carries text only, as base64 that says so', async (t) => {
    const publisher = await connect(t, server.url, { over: 'websocket' });
    const subscriber = await connect(t, server.url, { over: 'sockjs' });
    const topic = freshTopic();
    const inbox = await subscribe(subscriber, topic);
    await publish(publisher, topic, { binaryBody: octets });
    const [message] = await inbox.atLeast(1);
    assert.equal(message.headers['transfer-encoding'], 'base64');
    assert.deepEqual(Uint8Array.from(Buffer.from(message.body, 'base64')), octets);
  });
});

test('every client frame may ask for a receipt', async (t) => {
  const client = await connect(t, server.url);
  const topic = freshTopic();
  const inbox = await subscribe(client, topic);
  await publish(client, topic, { body: 'x' });
  await inbox.unsubscribe();
  await receipted(client, (receipt) => client.publish({ destination: '/app/subscribe', headers: { receipt } }));
});

test('what REST publishes reaches STOMP, with its headers', async (t) => {
  const client = await connect(t, server.url);
  const topic = freshTopic();
  const inbox = await subscribe(client, topic);
  const response = await fetch(`${server.url}/api/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ destination: topic, headers: { kind: 'a:b' }, json: { answer: 42 } }),
  });
  assert.equal(response.status, 202, await response.text());
  const [message] = await inbox.atLeast(1);
  assert.deepEqual(JSON.parse(message.body), { answer: 42 });
  assert.equal(message.headers.kind, 'a:b');
  assert.match(message.headers['content-type'], /^application\/json/);
});
