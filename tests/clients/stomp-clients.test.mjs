// Client libraries of several languages as their users have them: topics, queues in every ack mode, transactions, large and
// binary bodies, heart-beats, an ERROR. STENTOR_BIN=rabbitmq tries the same on RabbitMQ, which proves the tests right.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { PROGRAMS, runProgram } from './support/stomp-programs.mjs';
import { missing } from './support/rabbitmq.mjs';
import { canStart, ONE_IS_ENOUGH } from './support/server.mjs';
import { beaten, CLIENTS } from './support/stomp-clients.mjs';
import { RABBIT_ALONE, startForClients } from './support/stomp-servers.mjs';

const MEGABYTE = 'stentor '.repeat(131_072);
const skip = RABBIT_ALONE ? missing() : !canStart() && 'needs a server of its own: set STENTOR_BIN';
const fresh = (kind) => `/${kind}/clients-${randomUUID()}`;
const bodies = (messages) => messages.map(({ body }) => body);

describe('client libraries', { skip }, () => {
  let server;
  before(async () => (server = await startForClients()));
  after(() => server?.stop());

  /** Skips `t` where the server has no such door. */
  function lacks(t, over) {
    const there = { tcp: server.tcpPort, websocket: server.webSocketUrl, sockjs: server.url }[over];
    if (!there) t.skip(`the server has no ${over}`);
    return !there;
  }

  for (const [name, { over, binary, connect }] of Object.entries(CLIENTS)) {
    /** A test with a function that connects. */
    const using = (title, run, skip = false) =>
      test(title, { skip }, async (t) => {
        if (lacks(t, over)) return;
        await run((options) => connect(t, server, options), t);
      });

    describe(name, () => {
      using('connects, and is told its name', async (connect) => {
        const session = await connect();
        if (server.ours) assert.equal(session.user, server.login);
        await session.leave();
        assert.deepEqual(session.errors.items, []);
      });

      using('a topic', async (connect) => {
        const [writer, reader] = [await connect(), await connect()];
        const topic = fresh('topic');
        const inbox = await reader.subscribe(topic);
        await writer.publish(topic, 'Grüße ☂', { kind: 'plain', 'content-type': 'text/plain;charset=utf-8' });
        await writer.publish(topic, '');
        const [first, second] = await inbox.atLeast(2);
        assert.equal(first.body, 'Grüße ☂');
        assert.equal(first.headers.kind, 'plain');
        assert.equal(first.headers.destination, topic);
        assert.equal(first.headers['content-type'], 'text/plain;charset=utf-8');
        assert.equal(second.body, '');
      });

      /** Three messages to a consumer who acknowledges some; what the next one is given, before a last one. */
      async function left(connect, ack, acknowledge) {
        const queue = fresh('queue');
        const [writer, first] = [await connect(), await connect()];
        for (const body of ['one', 'two', 'three']) await writer.publish(queue, body);
        const messages = await (await first.subscribe(queue, { ack })).atLeast(3);
        assert.deepEqual(bodies(messages), ['one', 'two', 'three']);
        await acknowledge(messages);
        await first.settle();
        await first.leave();
        await writer.publish(queue, 'last');
        const inbox = await (await connect()).subscribe(queue);
        await inbox.first(({ body }) => body === 'last', 'the last message');
        const again = inbox.items.slice(0, -1);
        for (const { headers } of again) assert.equal(headers.redelivered, 'true');
        return bodies(again);
      }

      using('a queue with ack:auto', async (connect) => {
        assert.deepEqual(await left(connect, 'auto', () => {}), []);
      });

      using('a queue with ack:client, which acknowledges all before', async (connect) => {
        assert.deepEqual(await left(connect, 'client', ([, second]) => second.ack()), ['three']);
      });

      using('a queue with ack:client-individual', async (connect) => {
        assert.deepEqual(await left(connect, 'client-individual', ([, second]) => second.ack()), ['one', 'three']);
      });

      using('a queue without any acknowledgement', async (connect) => {
        assert.deepEqual(await left(connect, 'client', () => {}), ['one', 'two', 'three']);
      });

      using('NACK brings a message back', async (connect) => {
        const queue = fresh('queue');
        const session = await connect();
        await session.publish(queue, 'one');
        const inbox = await session.subscribe(queue, { ack: 'client-individual' });
        const [first] = await inbox.atLeast(1);
        first.nack();
        const [, again] = await inbox.atLeast(2);
        assert.equal(again.body, 'one');
        assert.equal(again.headers.redelivered, 'true');
        again.ack();
        await session.settle();
      });

      using('a transaction that is committed, and one that is not', async (connect) => {
        const [from, to] = [fresh('queue'), fresh('queue')];
        const [writer, reader] = [await connect(), await connect()];
        const results = await reader.subscribe(to);
        await writer.publish(from, 'work');
        const inbox = await writer.subscribe(from, { ack: 'client-individual' });
        const [work] = await inbox.atLeast(1);

        const aborted = writer.begin();
        aborted.publish(to, 'no');
        work.ack(aborted.id);
        await aborted.abort();

        const committed = writer.begin();
        committed.publish(to, 'one');
        committed.publish(to, 'two');
        work.ack(committed.id);
        await writer.publish(to, 'outside');
        assert.deepEqual(bodies(await results.atLeast(1)), ['outside']);
        await committed.commit();
        assert.deepEqual(bodies(await results.atLeast(3)), ['outside', 'one', 'two']);
        await writer.leave();

        await reader.publish(from, 'last');
        const rest = await reader.subscribe(from);
        assert.deepEqual(bodies(await rest.atLeast(1)), ['last'], 'what was acknowledged within it does not come again');
      });

      using('a body of one megabyte', async (connect) => {
        const queue = fresh('queue');
        const session = await connect();
        const inbox = await session.subscribe(queue);
        await session.publish(queue, MEGABYTE);
        const [{ body }] = await inbox.atLeast(1, 20_000);
        assert.ok(body === MEGABYTE, `${body.length} characters came`);
      });

      if (binary)
        using('octets', async (connect, t) => {
          if (over === 'websocket' && !server.ours) return t.skip('RabbitMQ sends all of it as text, or nothing');
          const queue = fresh('queue');
          const session = await connect();
          const inbox = await session.subscribe(queue);
          const octets = Uint8Array.from({ length: 4096 }, (_, i) => i & 255);
          await session.publish(queue, octets, { 'content-type': 'application/octet-stream' });
          const [message] = await inbox.atLeast(1);
          assert.deepEqual(new Uint8Array(message.octets), octets);
          assert.equal(message.headers['content-type'], 'application/octet-stream');
        });

      using('heart-beats both ways', async (connect) => {
        const session = await connect({ beat: 1000 });
        await beaten(session, 4);
        await session.settle();
        assert.deepEqual(session.errors.items, []);
      }, ONE_IS_ENOUGH);

      using('an ERROR, and the end', async (connect, t) => {
        if (name.startsWith('stompit') && !server.ours) return t.skip("stompit dies of RabbitMQ's content-type, text/plain and nothing else");
        const session = await connect();
        session.publish('/nowhere/at-all', 'x').catch(() => {});
        const text = await session.errors.first(() => true, 'an ERROR');
        assert.match(text, /destination/);
        if (server.ours) await session.closed;
      }, ONE_IS_ENOUGH);
    });
  }

  for (const [name, program] of Object.entries(PROGRAMS)) {
    test(name, { skip: program.missing() || ONE_IS_ENOUGH }, async (t) => {
      if (lacks(t, 'tcp')) return;
      const { done, output } = await runProgram(t, program, server);
      assert.deepEqual(done, program.steps, output);
    });
  }
});
