// The example that follows a channel with stomp.js: against a server that is scripted, for each thing that can go wrong, and
// against Stentor, for what a page sees of it.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Client, Stomp } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { follow, mergePatch } from '../../examples/stompjs/channel.mjs';
import { lineTo } from './support/line.mjs';
import { scriptedBroker } from './support/scripted-broker.mjs';
import { sharedServer } from './support/server.mjs';
import { connect, freshTopic, publish } from './support/stomp.mjs';
import { eventually, Inbox } from './support/wait.mjs';

const EVENTS = '/topic/task-events';
const SNAPSHOT = '/topic/status';

/** What `follow` is given, and what it told: `values`, `[value, destination]` each, `messages` and `gaps`. */
function listener(options = {}) {
  const told = { values: new Inbox(), messages: new Inbox(), gaps: new Inbox() };
  told.options = {
    onValue: (value, { headers }) => told.values.push([value, headers.destination]),
    onMessage: (message) => told.messages.push(message),
    onGap: (reason) => told.gaps.push(reason),
    ...options,
  };
  told.onlyValues = () => told.values.items.map(([value]) => value);
  return told;
}

/** A client of a scripted server, not yet active: `{ broker, client }`. */
async function scripted(t, options = {}) {
  const broker = await scriptedBroker(t);
  const client = new Client({ brokerURL: broker.url, reconnectDelay: 10, heartbeatIncoming: 0, heartbeatOutgoing: 0, ...options });
  t.after(() => client.deactivate({ force: true }));
  return { broker, client };
}

/** A follow on a client of a scripted server, and what it began with: `{ broker, client, told, feed, peer, asked }`. */
async function followed(t, destination, options) {
  const { broker, client } = await scripted(t);
  const told = listener(options);
  const feed = follow(client, destination, told.options);
  client.activate();
  const peer = await broker.connection();
  return { broker, client, told, feed, peer, asked: await peer.subscribed() };
}

/** Has everything that `peer` said so far reach the client: a message goes through, which counts nowhere. */
async function settled(peer, client) {
  const id = randomUUID();
  const seen = new Promise((resolve) => client.watchForReceipt(id, resolve));
  peer.say('RECEIPT', { 'receipt-id': id });
  await seen;
}

describe('following a channel on a scripted server', () => {
  test('the headers of SUBSCRIBE are those that were asked for, and no others', async (t) => {
    const { client, peer, asked } = await followed(t, '/topic/metrics');
    assert.deepEqual(asked, { id: asked.id, destination: '/topic/metrics', receipt: asked.receipt });
    assert.ok(asked.receipt, 'where the subscription begins is in a RECEIPT');
    follow(client, '/topic/metrics', {
      headers: { selector: 'a > 1', id: asked.id },
      fields: ['summary', 'throughput.current'],
      maxRate: '1/5s',
      delta: true,
      history: 0,
      cursor: 'c1',
    });
    const { id, receipt, ...rest } = await peer.subscribed(2);
    assert.notEqual(id, asked.id);
    assert.ok(receipt, 'whether the cursor could be honoured is in a RECEIPT');
    assert.deepEqual(rest, {
      destination: '/topic/metrics',
      selector: 'a > 1',
      fields: 'summary,throughput.current',
      'max-rate': '1/5s',
      delta: 'merge-patch',
      history: '0',
      cursor: 'c1',
    });
  });

  test('after a cut, SUBSCRIBE has the cursor of the last message that had one', async (t) => {
    const { broker, told, feed, peer, asked } = await followed(t, EVENTS, { cursor: '' });
    assert.equal(feed.cursor, undefined);
    peer.message(asked, { cursor: 'c1' }, { n: 1 });
    peer.message(asked, { cursor: 'c2' }, { n: 2 });
    peer.message(asked, {}, 'no event');
    await told.messages.atLeast(3);
    assert.equal(feed.cursor, 'c2');
    peer.cut();
    const second = await broker.connection(2);
    assert.equal((await second.subscribed()).cursor, 'c2');
    second.cut();
    const third = await broker.connection(3);
    assert.equal((await third.subscribed()).cursor, 'c2', 'also where nothing came in between');
    assert.deepEqual(told.onlyValues(), [{ n: 1 }, { n: 2 }, 'no event']);
    assert.deepEqual(told.gaps.items, []);
  });

  test('a subscription that was sent nothing yet resumes where it began', async (t) => {
    const { broker, client, peer, asked } = await followed(t, EVENTS);
    peer.say('RECEIPT', { 'receipt-id': asked.receipt, cursor: 'c0' });
    await settled(peer, client);
    peer.cut();
    const second = await broker.connection(2);
    const again = await second.subscribed();
    assert.equal(again.cursor, 'c0');
    second.message(again, { cursor: 'c1' });
    second.say('RECEIPT', { 'receipt-id': again.receipt, cursor: 'c0' });
    await settled(second, client);
    second.cut();
    assert.equal((await (await broker.connection(3)).subscribed()).cursor, 'c1', 'a message counts more');
  });

  test('the cursor is already there when the message is handed out', async (t) => {
    const seen = new Inbox();
    const { feed, peer, asked } = await followed(t, EVENTS, { onMessage: () => seen.push(feed.cursor) });
    peer.message(asked, { cursor: 'c1' });
    assert.deepEqual(await seen.atLeast(1), ['c1']);
  });

  for (const [order, ...steps] of [
    ['the RECEIPT, then the first message', 'receipt', 'message'],
    ['the first message, then the RECEIPT', 'message', 'receipt'],
  ]) {
    test(`a gap is told once: ${order}`, async (t) => {
      const { client, told, peer, asked } = await followed(t, EVENTS, { cursor: 'old' });
      const gap = { gap: true, 'gap-reason': 'trimmed' };
      for (const step of steps) {
        if (step === 'receipt') peer.say('RECEIPT', { 'receipt-id': asked.receipt, resumed: false, ...gap });
        else peer.message(asked, { cursor: 'c5', ...gap }, { n: 5 });
      }
      peer.message(asked, { cursor: 'c6' }, { n: 6 });
      await told.messages.atLeast(2);
      await settled(peer, client);
      assert.deepEqual(told.gaps.items, ['trimmed']);
      assert.deepEqual(told.onlyValues(), [{ n: 5 }, { n: 6 }]);
    });
  }

  test('a gap is told even if no message comes', async (t) => {
    const { told, peer, asked } = await followed(t, EVENTS, { cursor: 'old' });
    peer.say('RECEIPT', { 'receipt-id': asked.receipt, resumed: false, gap: true, 'gap-reason': 'lost' });
    assert.deepEqual(await told.gaps.atLeast(1), ['lost']);
  });

  test('a cursor that was honoured is no gap', async (t) => {
    const { client, told, peer, asked } = await followed(t, EVENTS, { cursor: 'old' });
    peer.say('RECEIPT', { 'receipt-id': asked.receipt, resumed: true });
    peer.message(asked, { cursor: 'c2' });
    await settled(peer, client);
    assert.deepEqual(told.gaps.items, []);
  });

  test('a gap that arises later is told too, and each on a connection of its own', async (t) => {
    const { broker, told, peer, asked } = await followed(t, EVENTS, { cursor: 'old' });
    const gap = (reason) => ({ gap: true, 'gap-reason': reason });
    peer.say('RECEIPT', { 'receipt-id': asked.receipt, resumed: false, ...gap('trimmed') });
    peer.message(asked, { cursor: 'c1', ...gap('trimmed') });
    peer.message(asked, { cursor: 'c9', ...gap('lost') });
    assert.deepEqual(await told.gaps.atLeast(2), ['trimmed', 'lost']);
    peer.cut();
    const next = await broker.connection(2);
    const again = await next.subscribed();
    assert.equal(again.cursor, 'c9');
    next.message(again, { cursor: 'd1', ...gap('unknown') });
    assert.deepEqual(await told.gaps.atLeast(3), ['trimmed', 'lost', 'unknown']);
  });

  test('an ERROR gives a cursor to whoever has none, and takes none from anybody', async (t) => {
    const { broker, client } = await scripted(t);
    const feeds = [EVENTS, '/topic/vm-events:a', '/topic/vm-events:b', '/topic/plain'].map((destination) => follow(client, destination));
    client.activate();
    const peer = await broker.connection();
    const [tasks, one, two] = [await peer.subscribed(1), await peer.subscribed(2), await peer.subscribed(3)];
    await peer.subscribed(4);
    peer.message(two, { cursor: 'seen' });
    await eventually(5000, 'the message', () => feeds[2].cursor);
    peer.say(
      'ERROR',
      { message: 'slow consumer', subscription: tasks.id, cursor: 'e1' },
      `Read faster, or ask for less.\n${one.id} e2\n${two.id} e3\n`,
    );
    peer.cut();
    const next = await broker.connection(2);
    await next.subscribed(4);
    const cursors = next.heard.items.filter(({ command }) => command === 'SUBSCRIBE').map(({ headers }) => headers.cursor);
    assert.deepEqual(cursors, ['e1', 'e2', 'seen', undefined]);
  });

  test('an ERROR of another kind gives nobody a cursor', async (t) => {
    const { broker, peer, asked } = await followed(t, EVENTS);
    peer.say('ERROR', { message: 'access refused', subscription: asked.id, cursor: 'e1' });
    peer.cut();
    assert.equal((await (await broker.connection(2)).subscribed()).cursor, undefined);
  });

  test('a chain of patches gives every value, for each channel by itself', async (t) => {
    const { told, peer, asked } = await followed(t, '/topic/host-metrics:#', { delta: true });
    const [a, b] = ['a', 'b'].map((host) => ({ ...asked, destination: `/topic/host-metrics:${host}` }));
    peer.message(a, { delta: 'full', 'delta-seq': 7, retained: true }, { cpu: { used: 1, cores: 4 }, up: true });
    peer.message(b, { delta: 'full', 'delta-seq': 3 }, { cpu: { used: 2 } });
    peer.message(a, { delta: 'patch', 'delta-base': 7, 'delta-seq': 9 }, { cpu: { used: 5 } });
    peer.message(b, { delta: 'patch', 'delta-base': 3, 'delta-seq': 4 }, {});
    peer.message(a, { delta: 'patch', 'delta-base': 9, 'delta-seq': 10 }, { up: null, disk: [1] });
    peer.message(a, { delta: 'full', 'delta-seq': 12 }, 'under repair');
    peer.message(a, { delta: 'full', 'delta-seq': 13 }, 'null');
    assert.deepEqual(await told.values.atLeast(7), [
      [{ cpu: { used: 1, cores: 4 }, up: true }, a.destination],
      [{ cpu: { used: 2 } }, b.destination],
      [{ cpu: { used: 5, cores: 4 }, up: true }, a.destination],
      [{ cpu: { used: 2 } }, b.destination],
      [{ cpu: { used: 5, cores: 4 }, disk: [1] }, a.destination],
      ['under repair', a.destination],
      [null, a.destination],
    ]);
    assert.equal(peer.heard.items.filter(({ command }) => command === 'SUBSCRIBE').length, 1);
  });

  test('sequence numbers beyond what a double can hold are told apart', async (t) => {
    const { told, peer, asked } = await followed(t, '/topic/metrics', { delta: true });
    peer.message(asked, { delta: 'full', 'delta-seq': '9007199254740992' }, { a: 1 });
    peer.message(asked, { delta: 'patch', 'delta-base': '9007199254740993', 'delta-seq': '9007199254740994' }, { a: 2 });
    await peer.subscribed(2);
    assert.deepEqual(told.onlyValues(), [{ a: 1 }]);
  });

  test('what was handed out belongs to the page: no patch changes it, and what the page does to it changes no later value', async (t) => {
    const { told, peer, asked } = await followed(t, '/topic/metrics', {
      delta: true,
      onValue: (value) => {
        told.values.push([structuredClone(value), value]);
        value.list.push('mine');
        delete value.deep;
      },
    });
    peer.message(asked, { delta: 'full', 'delta-seq': 1 }, { list: [1], deep: { a: 1, b: 2 } });
    peer.message(asked, { delta: 'patch', 'delta-base': 1, 'delta-seq': 2 }, { deep: { a: 5 } });
    peer.message(asked, { delta: 'patch', 'delta-base': 2, 'delta-seq': 3 }, {});
    const values = await told.values.atLeast(3);
    assert.deepEqual(values.map(([came]) => came), [
      { list: [1], deep: { a: 1, b: 2 } },
      { list: [1], deep: { a: 5, b: 2 } },
      { list: [1], deep: { a: 5, b: 2 } },
    ]);
    for (const [, kept] of values) assert.deepEqual(kept, { list: [1, 'mine'] });
  });

  for (const [what, firsts, base] of [
    ['another value than the last', [[{ delta: 'full', 'delta-seq': 1 }, { a: 1 }]], 2],
    ['a value that was never whole', [], 1],
    ['nothing at all', [], undefined],
  ]) {
    test(`a patch of ${what} is not applied: a new subscription brings a whole one`, async (t) => {
      const { told, client, peer, asked } = await followed(t, '/topic/metrics', { delta: true });
      const stray = [];
      client.onUnhandledMessage = ({ body }) => stray.push(body);
      for (const [headers, value] of firsts) peer.message(asked, headers, value);
      peer.message(asked, { delta: 'patch', 'delta-base': base, 'delta-seq': 3 }, { a: 3 });
      // Still under way when the client leaves: what belongs to the old subscription counts for nothing.
      peer.message(asked, { delta: 'patch', 'delta-base': 3, 'delta-seq': 4 }, { a: 4 });
      assert.equal((await peer.frame('UNSUBSCRIBE')).headers.id, asked.id);
      const again = await peer.subscribed(2);
      assert.notEqual(again.id, asked.id);
      assert.equal(again.delta, 'merge-patch');
      peer.message(again, { delta: 'full', 'delta-seq': 5, retained: true }, { a: 5 });
      peer.message(again, { delta: 'patch', 'delta-base': 5, 'delta-seq': 6 }, { b: 6 });
      await told.messages.first(({ headers }) => headers['delta-seq'] === '6', 'the last message');
      assert.deepEqual(told.onlyValues(), [...firsts.map(([, value]) => value), { a: 5 }, { a: 5, b: 6 }]);
      assert.equal(stray.length, 1);
      assert.equal(peer.heard.items.filter(({ command }) => command === 'SUBSCRIBE').length, 2);
    });
  }

  test('a reconnect forgets the values: a patch of one from before is not applied', async (t) => {
    const { broker, told, peer, asked } = await followed(t, '/topic/metrics', { delta: true });
    peer.message(asked, { delta: 'full', 'delta-seq': 1 }, { a: 1 });
    await told.values.atLeast(1);
    peer.cut();
    const next = await broker.connection(2);
    next.message(await next.subscribed(), { delta: 'patch', 'delta-base': 1, 'delta-seq': 2 }, { a: 2 });
    await next.subscribed(2);
    assert.deepEqual(told.onlyValues(), [{ a: 1 }]);
  });

  test('a clear is undefined, and what came before it is forgotten', async (t) => {
    const { told, peer, asked } = await followed(t, '/topic/metrics', { delta: true });
    peer.message(asked, { delta: 'full', 'delta-seq': 1 }, { a: 1 });
    peer.message(asked, { retain: 'clear' });
    peer.message(asked, { delta: 'full', 'delta-seq': 3 }, { b: 1 });
    peer.message(asked, { retain: 'clear', delta: 'full', 'delta-seq': 4 });
    peer.message(asked, { delta: 'patch', 'delta-base': 3, 'delta-seq': 5 }, { c: 1 });
    await peer.subscribed(2);
    assert.deepEqual(told.onlyValues(), [{ a: 1 }, undefined, { b: 1 }, undefined]);
  });

  test('a clear is told without deltas too, and a body that is no JSON is text', async (t) => {
    const { told, peer, asked } = await followed(t, '/topic/metrics');
    peer.message(asked, {}, 'plain words');
    peer.message(asked, { retain: 'clear' });
    peer.message(asked, {}, '');
    peer.message(asked, {}, [1, 2]);
    await told.values.atLeast(4);
    assert.deepEqual(told.onlyValues(), ['plain words', undefined, '', [1, 2]]);
  });

  test('unsubscribe holds at once, and on later connections', async (t) => {
    const { broker, client, told, feed, peer, asked } = await followed(t, EVENTS, {
      onMessage: () => feed.unsubscribe(),
    });
    const other = follow(client, '/topic/other');
    peer.message(asked, { cursor: 'c1' }, 'first');
    peer.message(asked, { cursor: 'c2' }, 'second');
    assert.equal((await peer.frame('UNSUBSCRIBE')).headers.id, asked.id);
    await settled(peer, client);
    assert.deepEqual(told.onlyValues(), []);
    assert.equal(feed.cursor, 'c1');
    feed.unsubscribe();
    peer.cut();
    const next = await broker.connection(2);
    assert.equal((await next.subscribed()).destination, '/topic/other');
    other.unsubscribe();
    await next.frame('UNSUBSCRIBE');
    assert.equal(peer.heard.items.filter(({ command }) => command === 'UNSUBSCRIBE').length, 1);
    assert.equal(next.heard.items.filter(({ command }) => command === 'SUBSCRIBE').length, 1);
  });

  test('a gap is the last that is told to a page that unsubscribes for it', async (t) => {
    const gaps = [];
    const { client, told, feed, peer, asked } = await followed(t, EVENTS, {
      cursor: 'old',
      onGap: (reason) => {
        gaps.push(reason);
        feed.unsubscribe();
      },
    });
    peer.message(asked, { cursor: 'c1', gap: true, 'gap-reason': 'lost' });
    await settled(peer, client);
    assert.deepEqual([gaps, told.messages.items, told.values.items], [['lost'], [], []]);
  });

  test('a RECEIPT that comes after unsubscribe is told to nobody', async (t) => {
    const { client, told, feed, peer, asked } = await followed(t, EVENTS, { cursor: 'old' });
    feed.unsubscribe();
    peer.say('RECEIPT', { 'receipt-id': asked.receipt, resumed: false, gap: true, 'gap-reason': 'lost' });
    await settled(peer, client);
    assert.deepEqual(told.gaps.items, []);
  });

  test('unsubscribe after the client took its leave says nothing more', async (t) => {
    const { client, feed, peer } = await followed(t, EVENTS);
    const left = client.deactivate();
    feed.unsubscribe();
    const { headers } = await peer.frame('DISCONNECT');
    peer.say('RECEIPT', { 'receipt-id': headers.receipt });
    await left;
    assert.deepEqual(peer.heard.items.map(({ command }) => command), ['CONNECT', 'SUBSCRIBE', 'DISCONNECT']);
  });

  test("the page's own handlers are called, whether set before, afterwards or on top of each other", async (t) => {
    const calls = [];
    const { broker, client } = await scripted(t, {
      onConnect: () => calls.push('first'),
      onStompError: ({ headers }) => calls.push(headers.message),
    });
    follow(client, '/topic/a');
    follow(client, '/topic/b');
    client.activate();
    const peer = await broker.connection();
    await peer.subscribed(2);
    assert.deepEqual(calls, ['first']);

    const earlier = client.onConnect;
    client.onConnect = (frame) => {
      earlier(frame);
      calls.push(`second ${frame.command}`);
      follow(client, '/topic/c');
    };
    peer.say('ERROR', { message: 'broken' });
    peer.cut();
    const next = await broker.connection(2);
    await next.subscribed(3);
    assert.deepEqual(calls, ['first', 'broken', 'first', 'second CONNECTED']);
    client.publish({ destination: '/topic/end' });
    await next.frame('SEND');
    const destinations = next.heard.items.filter(({ command }) => command === 'SUBSCRIBE').map(({ headers }) => headers.destination);
    assert.deepEqual(destinations, ['/topic/a', '/topic/b', '/topic/c']);
  });

  test("a CompatClient, whose connect sets the handlers, is followed over reconnects", async (t) => {
    const broker = await scriptedBroker(t);
    const client = Stomp.over(() => new WebSocket(broker.url, ['v12.stomp']));
    Object.assign(client, { debug: () => {}, reconnect_delay: 10, heartbeat: { incoming: 0, outgoing: 0 } });
    t.after(() => client.deactivate({ force: true }));
    let connects = 0;
    follow(client, EVENTS);
    client.connect({}, () => (connects += 1));
    const peer = await broker.connection();
    peer.message(await peer.subscribed(), { cursor: 'c1' });
    await settled(peer, client);
    peer.cut();
    assert.equal((await (await broker.connection(2)).subscribed()).cursor, 'c1');
    assert.equal(connects, 2);
  });
});

describe('merge patches', () => {
  // RFC 7396, appendix A: original, patch, result.
  for (const [original, patch, result] of [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', 'null', 'null'],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ]) {
    test(`${original} patched by ${patch} is ${result}`, () => {
      const [target, change] = [JSON.parse(original), JSON.parse(patch)];
      assert.deepEqual(mergePatch(target, change), JSON.parse(result));
      assert.equal(JSON.stringify([target, change]), JSON.stringify([JSON.parse(original), JSON.parse(patch)]), 'neither is changed');
    });
  }

  test('names that objects inherit are names like any other', () => {
    const patch = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"toString":{"a":1}}';
    const patched = mergePatch({}, JSON.parse(patch));
    assert.equal(JSON.stringify(patched), patch);
    assert.equal(Object.getPrototypeOf(patched), Object.prototype);
    assert.equal({}.polluted, undefined);
    assert.equal(Object.polluted, undefined);
    const twice = mergePatch(patched, JSON.parse('{"__proto__":{"polluted":null,"b":2},"toString":null}'));
    assert.equal(JSON.stringify(twice), '{"__proto__":{"b":2},"constructor":{"prototype":{"polluted":2}}}');
  });
});

/** How a page comes to the server at `url`. */
const CARRIERS = {
  'raw WebSocket': (url) => ({ over: 'websocket', brokerURL: `${url.replace(/^http/, 'ws')}/ws/websocket` }),
  'SockJS, websocket': (url) => sockjs(url, 'websocket'),
  // In Node, sockjs-client does not notice that a response was cut short; heart-beats do.
  'SockJS, xhr-streaming': (url) => ({ ...sockjs(url, 'xhr-streaming'), heartbeatIncoming: 1000, heartbeatOutgoing: 1000 }),
};
const sockjs = (url, transport) => ({ webSocketFactory: () => new SockJS(`${url}/ws`, null, { transports: [transport], timeout: 10_000 }) });
/** For a client to come back over a slow transport. */
const PATIENCE = 30_000;

describe('following a channel on Stentor', () => {
  let server;
  before(async () => (server = await sharedServer()));
  after(() => server?.stop());

  /** A client that follows `destination` over a line that can be cut, and one beside it that publishes. */
  async function open(t, carrier, destination, options) {
    const line = await lineTo(t, server.url);
    const publisher = await connect(t, server.url, { over: 'websocket' });
    const client = await connect(t, line.url, { ...CARRIERS[carrier](line.url), reconnectDelay: 50 });
    const told = listener(options);
    const feed = follow(client, destination, told.options);
    // A RECEIPT says that what was sent before is done too.
    await publish(client, freshTopic());
    return { line, publisher, client, told, feed };
  }

  const untilDown = (client) => eventually(PATIENCE, 'the client to notice', () => !client.connected);

  /** Publishes `bodies` to `destination`, and waits until all are visible. */
  async function publishAll(publisher, destination, bodies) {
    const text = bodies.map((body) => JSON.stringify(body));
    for (const body of text.slice(0, -1)) publisher.publish({ destination, body });
    await publish(publisher, destination, { body: text.at(-1) });
  }

  for (const carrier of Object.keys(CARRIERS)) {
    test(`${carrier}: what happens while the line is cut comes afterwards, everything once and in order`, { timeout: 120_000 }, async (t) => {
      const { line, publisher, client, told, feed } = await open(t, carrier, EVENTS);
      const run = randomUUID();
      const own = () => told.onlyValues().filter(({ task_id: id }) => id === run);
      let published = 0;
      const more = (count) => publishAll(publisher, EVENTS, Array.from({ length: count }, () => ({ task_id: run, progress: (published += 1) })));
      const arrived = (n) => eventually(PATIENCE, `event ${n}`, () => own().length >= n);

      await more(20);
      await arrived(20);
      for (let i = 0; i < 3; i += 1) {
        // Cut amid a burst: some of it was read, some is under way, some was never written.
        const burst = more(100);
        await arrived(published - 90);
        line.cut();
        await burst;
        await untilDown(client);
        await more(300);
        line.mend();
        // And more while it comes back, for the seam.
        while (!client.connected) {
          await more(5);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await more(50);
        await arrived(published);
      }
      await publish(client, freshTopic());
      assert.deepEqual(own().map(({ progress }) => progress), Array.from({ length: published }, (_, i) => i + 1));
      assert.deepEqual([told.gaps.items, client.errors.items], [[], []]);
      assert.equal(feed.cursor, told.messages.items.at(-1).headers.cursor);
    });

    test(`${carrier}: values put together from patches are those that were published`, { timeout: 120_000 }, async (t) => {
      const { line, publisher, client, told } = await open(t, carrier, SNAPSHOT, { delta: true });
      const run = randomUUID();
      const own = () => told.onlyValues().filter((value) => value?.run === run);
      const all = [];
      const change = (value, n) => {
        const next = structuredClone(value);
        next.n = n;
        next.hosts[`host-${n % 7}`] = { cpu: n % 100, disks: [n, n + 1], note: n % 3 ? `Grüße ☂ ${n}` : undefined };
        if (n % 5 === 0) delete next.hosts[`host-${(n * 3) % 7}`];
        // What a patch can't express.
        next.maybe = n % 11 === 0 ? null : { n };
        return next;
      };
      const next = () => {
        const n = all.length;
        const last = all.at(-1) ?? { run, hosts: {}, steady: Array.from({ length: 50 }, (_, i) => `what stays as it is, ${i}`) };
        // As JSON has it, without what is undefined.
        all.push(JSON.parse(JSON.stringify(change(last, n))));
        return all.at(-1);
      };
      const more = async (count) => publishAll(publisher, SNAPSHOT, Array.from({ length: count }, next));
      const newest = () => eventually(PATIENCE, `value ${all.length - 1}`, () => own().at(-1)?.n === all.length - 1);

      // One by one, in bursts that leave values out, and over a cut.
      for (let i = 0; i < 30; i += 1) {
        await more(1);
        await newest();
      }
      for (let i = 0; i < 5; i += 1) await more(60);
      await newest();
      line.cut();
      await untilDown(client);
      await more(20);
      line.mend();
      await newest();
      for (let i = 0; i < 10; i += 1) {
        await more(1);
        await newest();
      }

      const values = own();
      for (const value of values) assert.deepEqual(value, all[value.n]);
      assert.deepEqual(values.at(-1), all.at(-1));
      const numbers = values.map(({ n }) => n);
      assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b), 'no older value after a newer one');
      const deltas = told.messages.items.map(({ headers }) => headers.delta);
      assert.ok(deltas.filter((delta) => delta === 'patch').length >= 20, `patches came, not whole values alone: ${deltas}`);

      publisher.publish({ destination: SNAPSHOT, headers: { retain: 'clear' } });
      await eventually(PATIENCE, 'the clear', () => told.onlyValues().at(-1) === undefined);
      await more(1);
      await newest();
      assert.equal(told.messages.items.at(-1).headers.delta, 'full', 'after a clear');
      assert.deepEqual(client.errors.items, []);
    });
  }

  test('a cursor from elsewhere is told as one gap, and all that history has comes', async (t) => {
    const run = randomUUID();
    const publisher = await connect(t, server.url);
    await publishAll(publisher, EVENTS, [{ task_id: run, progress: 1 }]);
    const { told } = await open(t, 'raw WebSocket', EVENTS, { cursor: 'from elsewhere' });
    await publishAll(publisher, EVENTS, [{ task_id: run, progress: 2 }]);
    await eventually(PATIENCE, 'the last event', () => told.onlyValues().at(-1)?.progress === 2);
    const own = told.onlyValues().filter(({ task_id: id }) => id === run);
    assert.deepEqual(own.map(({ progress }) => progress), [1, 2]);
    assert.deepEqual(told.gaps.items, ['unknown']);
  });
});
