// Subscriptions: topics and patterns, queues and their consumers, temporary queues for requests, and what can't be subscribed to.
import { VERSIONS } from './stomp-script.mjs';

export const cases = {};

for (const version of VERSIONS) {
  cases[`topics: to all who listen, ${version}`] = async (side) => {
    const topic = side.topic('news');
    const [a, b] = [await side.subscriber(topic, { id: 'a' }, version), await side.subscriber(topic, { id: 'b' }, version)];
    a.send('SEND', { destination: topic, receipt: 'r' }, 'one').send('SEND', { destination: topic }, 'two');
    await a.expect('its own', 'MESSAGE', 'MESSAGE');
    await a.expect('receipt', 'RECEIPT');
    await b.expect('the other', 'MESSAGE', 'MESSAGE');
  };

  cases[`topics: two subscriptions of one connection, ${version}`] = async (side) => {
    const topic = side.topic('twice');
    const peer = await side.subscriber(topic, { id: 'first' }, version);
    peer.send('SUBSCRIBE', { id: 'second', destination: topic, receipt: 'r' });
    await peer.get('RECEIPT');
    peer.send('SEND', { destination: topic }, 'x');
    const messages = await peer.get('MESSAGE', 'MESSAGE');
    side.note('to', messages.map((message) => message.header('subscription')).sort());
    peer.send('UNSUBSCRIBE', { id: 'first', receipt: 'unsubscribed' });
    await peer.expect('unsubscribed', 'RECEIPT');
    peer.send('SEND', { destination: topic }, 'y');
    await peer.expect('to the one that is left', 'MESSAGE');
  };

  cases[`a subscription's receipt comes before its first message, ${version}`] = async (side) => {
    const queue = side.queue('waiting');
    await side.fill(queue, 'one');
    const peer = await side.connect(version);
    peer.send('SUBSCRIBE', { id: '0', destination: queue, receipt: 'r' });
    await peer.expect('receipt', 'RECEIPT');
    await peer.expect('message', 'MESSAGE');
  };
}

const PATTERNS = {
  '*': ['a', 'b', 'a.b', ''],
  'a.*': ['a', 'a.b', 'a.c', 'a.b.c'],
  '*.b': ['a.b', 'b', 'x.y.b', 'c.b'],
  'a.*.c': ['a.b.c', 'a.c', 'a.b.b.c', 'a.x.c'],
  'a.#': ['a', 'a.b', 'a.b.c', 'b.a', 'ab'],
  '#': ['a', 'a.b.c'],
  'a.#.c': ['a.c', 'a.b.c', 'a.b.b.c', 'a.b'],
  'a*': ['a', 'ab', 'a*'],
};
for (const [pattern, names] of Object.entries(PATTERNS)) {
  cases[`patterns: ${pattern}`] = async (side) => {
    const of = (name) => `${side.topic('p')}.${name}`;
    const peer = await side.connect();
    peer.send('SUBSCRIBE', { id: 'pattern', destination: of(pattern), receipt: 'subscribed' });
    await peer.expect('subscribed', 'RECEIPT');
    const marker = side.topic('marker');
    peer.send('SUBSCRIBE', { id: 'marker', destination: marker, receipt: 'marked' });
    await peer.get('RECEIPT');
    for (const name of names.filter((name) => !/[*#]/.test(name) && name)) {
      peer.send('SEND', { destination: of(name) }, name).send('SEND', { destination: marker });
      const matched = [];
      for (let message; (message = await peer.get('MESSAGE')).header('subscription') !== 'marker'; ) matched.push(message.text);
      side.note(name, matched);
    }
  };
}

/** `~` is this side's own name. */
const DESTINATIONS = ['/nowhere/~', '~', '', '/', '/topic', '/topic/', '/queue', '/queue/', '/topic/~/b', '/queue/~/b', '/topic/~%2Fb', '/queue/~ b', 'topic/~'];
for (const command of ['SEND', 'SUBSCRIBE']) {
  for (const destination of DESTINATIONS) {
    cases[`destinations: ${command} ${destination || '(empty)'}`] = async (side) => {
      const peer = await side.connect();
      peer.send(command, { destination: destination.replace('~', side.id), id: command === 'SUBSCRIBE' ? '0' : undefined, receipt: 'r' });
      await peer.verdict('answer');
    };
  }
  cases[`destinations: ${command} without one`] = async (side) => {
    const peer = await side.connect();
    peer.send(command, { id: command === 'SUBSCRIBE' ? '0' : undefined, receipt: 'r' });
    await peer.verdict('answer');
  };
}

for (const pattern of ['*', '#']) {
  cases[`destinations: SEND to a pattern, ${pattern}`] = async (side) => {
    const peer = await side.connect();
    peer.send('SEND', { destination: side.topic(`p.${pattern}`), receipt: 'r' });
    await peer.verdict('answer');
  };
  cases[`destinations: SUBSCRIBE to a queue named like a pattern, ${pattern}`] = async (side) => {
    const peer = await side.connect();
    peer.send('SUBSCRIBE', { id: '0', destination: side.queue(`p.${pattern}`), receipt: 'r' });
    await peer.verdict('answer');
  };
}

for (const version of VERSIONS) {
  cases[`subscribing without an id, ${version}`] = async (side) => {
    const topic = side.topic('no-id');
    const peer = await side.connect(version);
    peer.send('SUBSCRIBE', { destination: topic, receipt: 'r' });
    const answer = await peer.verdict('answer');
    if (answer?.command !== 'RECEIPT') return;
    peer.send('SEND', { destination: topic }, 'x');
    await peer.expect('message', 'MESSAGE');
    peer.send('UNSUBSCRIBE', { destination: topic, receipt: 'gone' });
    await peer.expect('unsubscribed by destination', 'RECEIPT');
  };

  cases[`subscribing twice by one id, ${version}`] = async (side) => {
    const peer = await side.subscriber(side.topic('one'), {}, version);
    peer.send('SUBSCRIBE', { id: '0', destination: side.topic('two'), receipt: 'r' });
    await peer.verdict('answer');
  };

  cases[`an id that is free again, ${version}`] = async (side) => {
    const peer = await side.subscriber(side.topic('one'), {}, version);
    peer.send('UNSUBSCRIBE', { id: '0', receipt: 'gone' });
    await peer.expect('unsubscribed', 'RECEIPT');
    peer.send('SUBSCRIBE', { id: '0', destination: side.topic('two'), receipt: 'back' });
    await peer.expect('subscribed', 'RECEIPT');
    peer.send('SEND', { destination: side.topic('one') }, 'no').send('SEND', { destination: side.topic('two') }, 'yes');
    await peer.expect('message', 'MESSAGE');
  };

  for (const [name, headers] of Object.entries({ unknown: { id: 'nobody' }, 'without id and destination': {}, 'unknown destination': { destination: '/topic/nobody' } })) {
    cases[`unsubscribing: ${name}, ${version}`] = async (side) => {
      const peer = await side.subscriber(side.topic('t'), {}, version);
      peer.send('UNSUBSCRIBE', { ...headers, receipt: 'r' });
      await peer.verdict('answer');
    };
  }
}

cases['subscribing with an ack mode that does not exist'] = async (side) => {
  const peer = await side.connect();
  peer.send('SUBSCRIBE', { id: '0', destination: side.queue('q'), ack: 'sometimes', receipt: 'r' });
  await peer.verdict('answer');
};

cases['a selector'] = async (side) => {
  const topic = side.topic('selected');
  const peer = await side.subscriber(topic, { selector: "kind = 'good' AND size > 2" });
  for (const [kind, size] of [['good', 1], ['bad', 3], ['good', 3]]) peer.send('SEND', { destination: topic, kind, size }, `${kind} ${size}`);
  peer.send('SEND', { destination: topic, kind: 'good', size: 9 }, 'last');
  const got = [];
  for (let message; (message = await peer.get('MESSAGE')).text !== 'last'; ) got.push(message.text);
  side.note('got', got);
};

cases['a selector that is none'] = async (side) => {
  const peer = await side.connect();
  peer.send('SUBSCRIBE', { id: '0', destination: side.topic('t'), selector: 'kind = = 1', receipt: 'r' });
  await peer.verdict('answer');
};

for (const mode of ['client', 'client-individual']) {
  cases[`a topic with ack:${mode}`] = async (side) => {
    const topic = side.topic('acked');
    const peer = await side.subscriber(topic, { ack: mode });
    peer.send('SEND', { destination: topic }, 'one').send('SEND', { destination: topic }, 'two');
    const [, second] = await peer.expect('messages', 'MESSAGE', 'MESSAGE');
    peer.send('ACK', { id: second.header('ack'), receipt: 'acked' });
    await peer.expect('acked', 'RECEIPT');
  };
}

cases['queues: kept while nobody consumes, in order'] = async (side) => {
  const queue = side.queue('kept');
  await side.fill(queue, 'one', 'two', 'three');
  const peer = await side.connect();
  peer.send('SUBSCRIBE', { id: '0', destination: queue });
  await peer.expect('message', 'MESSAGE', 'MESSAGE', 'MESSAGE');
};

cases['queues: each message to one consumer'] = async (side) => {
  const queue = side.queue('shared');
  const consumers = await Promise.all(['a', 'b', 'c'].map((id) => side.subscriber(queue, { id, ack: 'client-individual', 'prefetch-count': '1' })));
  await side.fill(queue, 'one', 'two', 'three');
  const bodies = await Promise.all(consumers.map(async (peer) => (await peer.get('MESSAGE')).text));
  side.note('bodies', bodies.sort());
};

cases['queues: two subscriptions of one connection compete'] = async (side) => {
  const queue = side.queue('own');
  const peer = await side.subscriber(queue, { id: 'a', ack: 'client-individual', 'prefetch-count': '1' });
  peer.send('SUBSCRIBE', { id: 'b', destination: queue, ack: 'client-individual', 'prefetch-count': '1', receipt: 'r' });
  await peer.get('RECEIPT');
  await side.fill(queue, 'one', 'two');
  const messages = await peer.get('MESSAGE', 'MESSAGE');
  side.note('bodies', messages.map(({ text }) => text).sort());
  side.note('subscriptions', messages.map((message) => message.header('subscription')).sort());
};

cases['queues: none after the receipt of UNSUBSCRIBE'] = async (side) => {
  const queue = side.queue('left');
  const first = await side.subscriber(queue);
  first.send('UNSUBSCRIBE', { id: '0', receipt: 'gone' });
  await first.expect('unsubscribed', 'RECEIPT');
  await side.fill(queue, 'later');
  const second = await side.subscriber(queue);
  await second.expect('to who came then', 'MESSAGE');
  first.send('BEGIN', { transaction: 'tx', receipt: 'still there' });
  await first.expect('nothing to who went', 'RECEIPT');
};

cases['queues: priority'] = async (side) => {
  const queue = side.queue('urgent');
  const writer = await side.connect();
  for (const priority of ['1', '9', '4', '9']) writer.send('SEND', { destination: queue, priority }, `of ${priority}`);
  writer.send('BEGIN', { transaction: 'tx', receipt: 'sent' });
  await writer.get('RECEIPT');
  await side.fill(queue, 'last');
  const reader = await side.subscriber(queue);
  const messages = await reader.get(...Array(5).fill('MESSAGE'));
  side.note('order', messages.map(({ text }) => text));
};

cases['queues: names'] = async (side) => {
  for (const name of ['dots.in.it', 'a:b', 'UPPER', 'dash-_', 'star*', 'sharp#']) {
    const queue = side.queue(name);
    const peer = await side.subscriber(queue);
    peer.send('SEND', { destination: queue }, name);
    await peer.expect(name, 'MESSAGE');
    peer.vanish();
  }
};

cases['queues are not topics'] = async (side) => {
  const [queue, topic] = [await side.subscriber(side.queue('same')), await side.subscriber(side.topic('same'))];
  topic.send('SEND', { destination: side.topic('same') }, 'topic').send('SEND', { destination: side.queue('same') }, 'queue');
  await topic.expect('topic', 'MESSAGE');
  await queue.expect('queue', 'MESSAGE');
};

cases['requests: a reply comes back'] = async (side) => {
  const queue = side.queue('requests');
  const server = await side.subscriber(queue);
  const client = await side.connect();
  client.send('SEND', { destination: queue, 'reply-to': '/temp-queue/replies', 'correlation-id': '1' }, 'question');
  const request = await server.expect('request', 'MESSAGE');
  server.send('SEND', { destination: request.header('reply-to'), 'correlation-id': '1', receipt: 'r' }, 'answer');
  await server.expect('sent', 'RECEIPT');
  await client.expect('reply', 'MESSAGE');
};

cases['requests: several, by one temporary queue'] = async (side) => {
  const queue = side.queue('requests');
  const server = await side.subscriber(queue);
  const client = await side.connect();
  for (const n of ['1', '2']) client.send('SEND', { destination: queue, 'reply-to': '/temp-queue/replies' }, n);
  const [first, second] = await server.get('MESSAGE', 'MESSAGE');
  side.note('one place for both', first.header('reply-to') === second.header('reply-to'));
  for (const request of [second, first]) server.send('SEND', { destination: request.header('reply-to') }, `to ${request.text}`);
  await client.expect('reply', 'MESSAGE', 'MESSAGE');
};

cases['requests: two temporary queues of two clients of one name'] = async (side) => {
  const queue = side.queue('requests');
  const server = await side.subscriber(queue);
  const clients = [await side.connect(), await side.connect()];
  for (const [i, client] of clients.entries()) {
    client.send('SEND', { destination: queue, 'reply-to': '/temp-queue/replies' }, `from ${i}`);
    const request = await server.get('MESSAGE');
    server.send('SEND', { destination: request.header('reply-to') }, `to ${request.text}`);
  }
  for (const [i, client] of clients.entries()) await client.expect(`reply ${i}`, 'MESSAGE');
};

cases['requests: a reply to a client that has gone'] = async (side) => {
  const queue = side.queue('requests');
  const server = await side.subscriber(queue);
  const client = await side.connect();
  client.send('SEND', { destination: queue, 'reply-to': '/temp-queue/replies' }, 'question');
  const request = await server.get('MESSAGE');
  client.send('DISCONNECT', { receipt: 'bye' });
  await client.get('RECEIPT');
  client.end();
  await client.gone('gone');
  server.send('SEND', { destination: request.header('reply-to'), receipt: 'r' }, 'answer');
  await server.verdict('answer');
};

cases['requests: within a transaction'] = async (side) => {
  const queue = side.queue('requests');
  const server = await side.subscriber(queue);
  const client = await side.connect();
  client.send('BEGIN', { transaction: 'tx' });
  client.send('SEND', { destination: queue, 'reply-to': '/temp-queue/replies', transaction: 'tx' }, 'question');
  client.send('COMMIT', { transaction: 'tx', receipt: 'r' });
  await client.expect('committed', 'RECEIPT');
  const request = await server.get('MESSAGE');
  server.send('SEND', { destination: request.header('reply-to') }, 'answer');
  await client.expect('reply', 'MESSAGE');
};

cases['requests: an id like that of a temporary queue'] = async (side) => {
  const peer = await side.connect();
  peer.send('SUBSCRIBE', { id: '/temp-queue/mine', destination: side.topic('t'), receipt: 'r' });
  await peer.verdict('answer');
};

cases['requests: a reply-to of another kind goes through'] = async (side) => {
  const queue = side.queue('requests');
  const server = await side.subscriber(queue);
  server.send('SEND', { destination: queue, 'reply-to': side.queue('replies') }, 'question');
  await server.expect('request', 'MESSAGE');
};

for (const command of ['SEND', 'SUBSCRIBE']) {
  cases[`requests: ${command} to a temporary queue by its own name`] = async (side) => {
    const peer = await side.connect();
    peer.send(command, { id: command === 'SUBSCRIBE' ? '0' : undefined, destination: '/temp-queue/mine', receipt: 'r' });
    await peer.verdict('answer');
  };
}

cases['requests: UNSUBSCRIBE from a temporary queue'] = async (side) => {
  const peer = await side.connect();
  peer.send('UNSUBSCRIBE', { id: '/temp-queue/mine', receipt: 'r' });
  await peer.verdict('answer');
};
