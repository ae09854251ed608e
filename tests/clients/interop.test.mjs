// Clients of RabbitMQ beside those of Stentor, by what both see: AMQP, MQTT and RabbitMQ's own STOMP reach subscribers on each
// node, and are reached from each node; events that they publish are resumed like our own.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { startCluster } from './support/cluster.mjs';
import { amqpChannel, DOORS, FOREIGN } from './support/foreign.mjs';
import { nginx } from './support/nginx.mjs';
import { missing } from './support/rabbitmq.mjs';
import { canStart } from './support/server.mjs';
import { connect, publish, receipted, subscribe } from './support/stomp.mjs';
import { eventually, Inbox } from './support/wait.mjs';

const skip = missing() ?? (!nginx ? 'there is no nginx: install the package nginx' : !canStart() && 'needs nodes of its own: set STENTOR_BIN');
const EVENTS = '/topic/task-events';
/** What AMQP sees of a message: 2 is kept over a restart. */
const PERSISTENT = 2;

/** A key that no other test uses, of two segments. */
const freshKey = () => `shared-${randomUUID()}.of-both`;
const bodies = (inbox) => inbox.items.map(({ body }) => body);

describe('beside other clients of one RabbitMQ', { skip }, () => {
  let cluster;
  before(async () => (cluster = await startCluster({ doors: DOORS })));
  after(() => cluster?.stop());

  /** A client of each node. */
  const onEach = (t) => Promise.all(cluster.urls.map((url) => connect(t, url, { over: 'websocket' })));

  for (const [name, { open }] of Object.entries(FOREIGN)) {
    describe(name, () => {
      test('a publisher reaches the subscribers of each node once, in every spelling of its key', async (t) => {
        const [foreign, clients] = [await open(t, cluster.rabbit), await onEach(t)];
        const key = freshKey();
        const [first, second] = key.split('.');
        const destinations = [`/topic/${key}`, `/topic/${first}/${second}`, `/topic/${first}.*`, `/topic/${first}.#`];
        const inboxes = await Promise.all(clients.flatMap((client) => destinations.map((destination) => subscribe(client, destination))));
        for (const body of ['one', 'Grüße ☂ 𝄞', 'end']) await foreign.publish(key, body);
        for (const [i, inbox] of inboxes.entries()) {
          const end = await inbox.first(({ body }) => body === 'end', `the message at ${destinations[i % 4]}`);
          assert.deepEqual(bodies(inbox), ['one', 'Grüße ☂ 𝄞', 'end']);
          // A pattern has no one spelling, so there it is the dotted one.
          assert.equal(end.headers.destination, [`/topic/${key}`, `/topic/${first}/${second}`, `/topic/${key}`, `/topic/${key}`][i % 4]);
        }
      });

      test('a subscriber is reached by clients of each node', async (t) => {
        const [foreign, clients] = [await open(t, cluster.rabbit), await onEach(t)];
        const key = freshKey();
        const inbox = await foreign.subscribe(key);
        const spellings = [`/topic/${key}`, `/topic/${key.replace('.', '/')}`, `/topic/${key.replace('.', ':')}`];
        for (const [i, client] of clients.entries()) await publish(client, spellings[i], { body: `Grüße ☂ ${i}` });
        const messages = await inbox.atLeast(3);
        assert.deepEqual(messages, [0, 1, 2].map((i) => ({ key, body: `Grüße ☂ ${i}` })));
      });

      test('its events are resumed on another node, each once and in order', async (t) => {
        const foreign = await open(t, cluster.rabbit);
        const [one, other] = await onEach(t);
        const run = randomUUID();
        const event = (n) => JSON.stringify({ task_id: run, progress: n });
        const progress = (inbox) => bodies(inbox).map((body) => JSON.parse(body).progress);

        const before = await subscribe(one, EVENTS);
        for (const n of [1, 2, 3]) await foreign.publish('task-events', event(n));
        const { headers } = await before.first(({ body }) => body === event(2), 'the second event');
        assert.ok(headers.cursor, 'an event of whoever has a cursor');
        await one.deactivate();
        for (const n of [4, 5]) await foreign.publish('task-events', event(n));
        await publish(other, EVENTS, { body: event(6) });

        const after = new Inbox();
        const receipt = await receipted(other, (receipt) =>
          other.subscribe(EVENTS, (message) => after.push(message), { cursor: headers.cursor, receipt }),
        );
        assert.equal(receipt.headers.resumed, 'true', JSON.stringify(receipt.headers));
        for (const n of [7, 8]) await foreign.publish('task-events', event(n));
        await after.first(({ body }) => body === event(8), 'the last event');
        assert.deepEqual(progress(after), [3, 4, 5, 6, 7, 8]);
      });
    });
  }

  describe('headers and properties', () => {
    test('what a client of Stentor says are AMQP properties, and texts in the table', async (t) => {
      const [channel, [client]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const key = freshKey();
      const inbox = await channel.bound(key);
      const headers = {
        'content-type': 'application/json;charset=utf-8',
        'correlation-id': 'c-1',
        'reply-to': '/topic/answers',
        expiration: '60000',
        priority: '7',
        persistent: 'true',
        colour: 'bläulich: ☂',
        CC: 'nobody',
        BCC: 'nobody',
      };
      await publish(client, `/topic/${key}`, { body: '{"a":1}', headers });
      const [{ properties, content }] = await inbox.atLeast(1);
      assert.equal(content.toString(), '{"a":1}');
      assert.equal(properties.contentType, headers['content-type']);
      assert.equal(properties.correlationId, 'c-1');
      assert.equal(properties.replyTo, '/topic/answers');
      assert.equal(properties.expiration, '60000');
      assert.equal(properties.priority, 7);
      assert.equal(properties.deliveryMode, PERSISTENT);
      assert.equal(properties.headers.colour, headers.colour);
      assert.equal(properties.headers['x-stentor-destination'], `/topic/${key}`);
      assert.equal(properties.headers.CC, undefined, 'RabbitMQ would send copies');
      assert.equal(properties.headers['x-stentor-header-CC'], 'nobody');
      assert.equal(properties.headers.destination ?? properties.headers.receipt, undefined, 'what is between client and server');
    });

    test('AMQP properties and the table are headers at clients of Stentor', async (t) => {
      const [channel, [, client]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const key = freshKey();
      const inbox = await subscribe(client, `/topic/${key}`);
      await channel.send('amq.topic', key, 'body', {
        contentType: 'text/plain',
        contentEncoding: 'identity',
        correlationId: 'c-2',
        replyTo: 'answers',
        expiration: '60000',
        priority: 3,
        persistent: true,
        messageId: 'm-1',
        timestamp: 1_700_000_000,
        type: 'kind',
        appId: 'app',
        headers: { text: 'Grüße ☂', number: 42, truth: true, list: [1, 2], 'x-stentor-destination': '/topic/forged', subscription: 'forged' },
      });
      const [{ headers, body }] = await inbox.atLeast(1);
      const seen = Object.fromEntries(
        ['content-type', 'content-encoding', 'correlation-id', 'reply-to', 'expiration', 'priority', 'persistent', 'amqp-message-id', 'timestamp', 'type', 'app-id', 'text', 'number', 'truth', 'list'].map(
          (name) => [name, headers[name]],
        ),
      );
      assert.equal(body, 'body');
      assert.deepEqual(seen, {
        'content-type': 'text/plain',
        'content-encoding': 'identity',
        'correlation-id': 'c-2',
        'reply-to': 'answers',
        expiration: '60000',
        priority: '3',
        persistent: 'true',
        'amqp-message-id': 'm-1',
        timestamp: '1700000000',
        type: 'kind',
        'app-id': 'app',
        text: 'Grüße ☂',
        number: '42',
        truth: 'true',
        list: undefined,
      });
      assert.equal(headers.destination, `/topic/${key}`, 'a destination that is not of the key is none');
      assert.notEqual(headers.subscription, 'forged');
    });

    test('octets pass as they are', async (t) => {
      const [channel, [client, reader]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const key = freshKey();
      const octets = Uint8Array.from({ length: 4096 }, (_, i) => i & 255);
      const [theirs, ours] = [await channel.bound(key), await subscribe(reader, `/topic/${key}`)];
      await publish(client, `/topic/${key}`, { binaryBody: octets });
      await channel.send('amq.topic', key, octets);
      for (const { content } of await theirs.atLeast(2)) assert.deepEqual(new Uint8Array(content), octets);
      for (const { binaryBody } of await ours.atLeast(2)) assert.deepEqual(new Uint8Array(binaryBody), octets);
    });

    test("a colon as RabbitMQ's own STOMP spells it in a key reaches who spells it so", async (t) => {
      const [foreign, [client]] = [await FOREIGN['STOMP over TCP, stomp.js'].open(t, cluster.rabbit), await onEach(t)];
      const key = `shared-${randomUUID()}:web1`;
      const inbox = await subscribe(client, `/topic/${key}`);
      await foreign.publish(key, 'by the plug-in');
      const [{ headers, body }] = await inbox.atLeast(1);
      assert.deepEqual([headers.destination, body], [`/topic/${key}`, 'by the plug-in']);
    });

    test('an octet beyond those of keys is percent-encoded, and comes back as it was', async (t) => {
      const [channel, [client, reader]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const name = `shared-${randomUUID()}.ä b%41`;
      const [theirs, ours] = [await channel.bound(`${name.split('.')[0]}.#`), await subscribe(reader, `/topic/${name}`)];
      await publish(client, `/topic/${name}`, { body: 'odd' });
      const [{ fields }] = await theirs.atLeast(1);
      assert.equal(fields.routingKey, name.replace('ä b%41', '%C3%A4%20b%2541'));
      const [{ headers }] = await ours.atLeast(1);
      assert.equal(headers.destination, `/topic/${name}`);
    });
  });

  describe('queues', () => {
    const freshQueue = () => `shared-${randomUUID()}`;

    test('what a client of Stentor sends, an AMQP consumer takes', async (t) => {
      const [channel, [client]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const queue = freshQueue();
      for (const body of ['one', 'two']) await publish(client, `/queue/${queue}`, { body, headers: { colour: 'blue', persistent: 'true' } });
      const inbox = await channel.taken(queue);
      const messages = await inbox.atLeast(2);
      assert.deepEqual(messages.map(({ content, properties }) => [content.toString(), properties.headers.colour, properties.deliveryMode]), [
        ['one', 'blue', PERSISTENT],
        ['two', 'blue', PERSISTENT],
      ]);
    });

    test('what AMQP sends, a consumer takes, and what it leaves undone comes to another node', async (t) => {
      const [channel, [one, other]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const queue = freshQueue();
      // Makes the queue: AMQP itself drops what is sent to one that is not there.
      await publish(other, `/queue/${queue}`, { body: 'from Stentor' });
      const first = await subscribe(one, `/queue/${queue}`, { ack: 'client-individual' });
      (await first.atLeast(1))[0].ack();
      await channel.send('', queue, 'from AMQP', { headers: { colour: 'blue' }, correlationId: 'c-3' });
      const [, message] = await first.atLeast(2);
      assert.deepEqual(
        [message.body, message.headers.destination, message.headers.colour, message.headers['correlation-id']],
        ['from AMQP', `/queue/${queue}`, 'blue', 'c-3'],
      );
      const second = await subscribe(other, `/queue/${queue}`, { ack: 'client-individual' });
      await one.deactivate();
      const again = await second.first(({ body }) => body === 'from AMQP', 'the message again');
      assert.equal(again.headers.redelivered, 'true');
      await receipted(other, (receipt) => other.ack(again.headers.ack ?? again.headers['message-id'], again.headers.subscription, { receipt }));
      await other.deactivate();
      await eventually(10_000, 'the queue to be empty', async () => (await channel.checkQueue(queue)).messageCount === 0);
    });

    test('a RECEIPT of SUBSCRIBE says that the queue is there', { todo: 'it comes before' }, async (t) => {
      const [channel, [client]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const queue = freshQueue();
      const inbox = await subscribe(client, `/queue/${queue}`);
      await channel.send('', queue, 'at once');
      assert.equal((await inbox.atLeast(1, 1000))[0].body, 'at once');
    });

    test('a queue that AMQP declared, as AMQP declared it, is shared by consumers of both', async (t) => {
      const [channel, [one, other]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const queue = freshQueue();
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'classic' } });
      const theirs = await channel.taken(queue);
      const ours = await subscribe(one, `/queue/${queue}`);
      const all = Array.from({ length: 100 }, (_, i) => String(i));
      for (const body of all) await publish(other, `/queue/${queue}`, { body });
      await eventually(10_000, 'all messages', () => theirs.items.length + ours.items.length >= all.length);
      const taken = [...theirs.items.map(({ content }) => content.toString()), ...bodies(ours)];
      assert.deepEqual(taken.sort((a, b) => a - b), all, 'each once');
      assert.ok(theirs.items.length >= 10 && ours.items.length >= 10, `${theirs.items.length} there, ${ours.items.length} here`);
    });

    test('an AMQP service answers a request by the default exchange', async (t) => {
      const [channel, [, client]] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
      const queue = freshQueue();
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
      await channel.consume(
        queue,
        ({ content, properties: { replyTo, correlationId } }) =>
          channel.publish('', replyTo, Buffer.from(`answer to ${content}`), { correlationId }),
        { noAck: true },
      );
      const answers = new Inbox();
      client.onUnhandledMessage = (message) => answers.push(message);
      client.publish({ destination: `/queue/${queue}`, body: 'a question', headers: { 'reply-to': '/temp-queue/answers', 'correlation-id': 'c-4' } });
      const [{ body, headers }] = await answers.atLeast(1);
      assert.deepEqual([body, headers['correlation-id']], ['answer to a question', 'c-4']);
    });
  });

  test('a snapshot that AMQP published is there for who subscribes later, on each node', async (t) => {
    const [channel, clients] = [await amqpChannel(t, cluster.rabbit), await onEach(t)];
    const value = JSON.stringify({ run: randomUUID() });
    // A node hears what somebody there wants.
    const inboxes = await Promise.all(clients.map((client) => subscribe(client, '/topic/status')));
    await channel.send('amq.topic', 'status', value);
    for (const inbox of inboxes) await inbox.first(({ body }) => body === value, 'the value');
    for (const client of await onEach(t)) {
      const later = await subscribe(client, '/topic/status');
      const [{ body }] = await later.atLeast(1);
      assert.equal(body, value);
    }
  });
});
