// Acknowledgement: the three modes in each version, what is delivered again to whom, and ids that are wrong.
import { VERSIONS } from './stomp-script.mjs';

export const cases = {};

/** What an ACK says of a message, in each version. */
export const key = (message, version, subscription = '0') =>
  ({
    '1.0': { 'message-id': message.header('message-id') },
    1.1: { 'message-id': message.header('message-id'), subscription },
    1.2: { id: message.header('ack') },
  })[version];

const bodies = (messages) => messages.map((message) => message.text);
/** What another consumer sees of a queue: `more` is sent as its last, so that nothing has to be waited for in vain. */
async function seen(side, step, queue, count) {
  await side.fill(queue, 'last');
  const peer = await side.subscriber(queue, { id: 'next' });
  await peer.expect(step, ...Array(count + 1).fill('MESSAGE'));
  peer.vanish();
}
/** Three messages, all delivered and none acknowledged. */
async function three(side, headers, version = '1.2') {
  const queue = side.queue('q');
  await side.fill(queue, 'one', 'two', 'three');
  const peer = await side.subscriber(queue, headers, version);
  const messages = await peer.get('MESSAGE', 'MESSAGE', 'MESSAGE');
  const answered = async (step, command, message, more = {}) => {
    peer.send(command, { ...key(message, version), ...more, receipt: step });
    await peer.expect(step, 'RECEIPT');
  };
  return { queue, peer, messages, answered };
}

for (const version of VERSIONS) {
  cases[`ack:auto, ${version}`] = async (side) => {
    for (const [step, ack] of Object.entries({ said: 'auto', unsaid: undefined })) {
      const queue = side.queue(step);
      await side.fill(queue, 'one');
      const peer = await side.subscriber(queue, { ack }, version);
      await peer.expect(step, 'MESSAGE');
      await peer.leave();
      await seen(side, `${step}: next`, queue, 0);
    }
  };

  cases[`ack:client acknowledges all before, ${version}`] = async (side) => {
    const { queue, peer, messages, answered } = await three(side, { ack: 'client' }, version);
    side.note('delivered', messages.map((message) => side.show(message)).map(({ body, ack }) => `${body} ${ack ?? 'no ack'}`));
    await answered('acked', 'ACK', messages[1]);
    await peer.leave();
    await seen(side, 'delivered again', queue, 1);
  };

  cases[`ack:client-individual acknowledges one, ${version}`] = async (side) => {
    const { queue, peer, messages, answered } = await three(side, { ack: 'client-individual' }, version);
    await answered('acked', 'ACK', messages[1]);
    await peer.leave();
    await seen(side, 'delivered again', queue, 2);
  };

  for (const mode of ['client', 'client-individual']) {
    cases[`ack:${mode} in the end of all, ${version}`] = async (side) => {
      const { queue, peer, messages, answered } = await three(side, { ack: mode }, version);
      for (const message of mode === 'client' ? messages.slice(2) : messages) await answered(`acked ${message.text}`, 'ACK', message);
      await peer.leave();
      await seen(side, 'next', queue, 0);
    };

    cases[`NACK with ack:${mode}, ${version}`] = async (side) => {
      const { queue, peer, messages } = await three(side, { ack: mode }, version);
      peer.send('NACK', { ...key(messages[1], version), receipt: 'nacked' });
      const answer = await peer.verdict('nacked');
      if (answer?.command !== 'RECEIPT') return;
      const again = [await peer.get(...Array(mode === 'client' ? 2 : 1).fill('MESSAGE'))].flat();
      side.note('again', bodies(again));
      side.note('redelivered', again.map((message) => message.header('redelivered')));
      await peer.leave();
      await seen(side, 'next', queue, 3);
    };
  }
}

for (const mode of ['client', 'client-individual']) {
  cases[`NACK with requeue:false and ack:${mode}`] = async (side) => {
    const { queue, peer, messages, answered } = await three(side, { ack: mode });
    await answered('nacked', 'NACK', messages[1], { requeue: 'false' });
    await peer.leave();
    await seen(side, 'next', queue, mode === 'client' ? 1 : 2);
  };
}

cases['NACK with requeue:false: dead letters'] = async (side) => {
  const { peer, messages, answered } = await three(side, { ack: 'client-individual' });
  await answered('nacked', 'NACK', messages[1], { requeue: 'false' });
  const dead = await side.subscriber(`/queue/dlq.${side.id}-q`, { id: 'dead' });
  await side.fill(`/queue/dlq.${side.id}-q`, 'last');
  const got = [];
  for (let message; (message = await dead.get('MESSAGE')).text !== 'last'; ) got.push(message.text);
  side.note('dead letters', got);
  peer.vanish();
};

cases['NACK with requeue:true'] = async (side) => {
  const { peer, messages, answered } = await three(side, { ack: 'client-individual' });
  await answered('nacked', 'NACK', messages[0], { requeue: 'true' });
  await peer.expect('again', 'MESSAGE');
};

cases['redelivery: a goodbye is as good as none'] = async (side) => {
  const { queue, peer } = await three(side, { ack: 'client' });
  peer.send('DISCONNECT', { receipt: 'bye' });
  await peer.get('RECEIPT');
  peer.end();
  await peer.gone('gone');
  await seen(side, 'next', queue, 3);
};

cases['redelivery: to a consumer who waits'] = async (side) => {
  const { queue, peer } = await three(side, { ack: 'client-individual' });
  const other = await side.subscriber(queue, { id: 'other', ack: 'client' });
  peer.vanish();
  await other.expect('again', 'MESSAGE', 'MESSAGE', 'MESSAGE');
};

cases['redelivery: more than once'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one');
  for (const turn of ['first', 'second', 'third']) {
    const peer = await side.subscriber(queue, { ack: 'client' });
    const message = await peer.get('MESSAGE');
    side.note(turn, message.header('redelivered') === 'true');
    peer.vanish();
  }
};

cases['redelivery: in the old order, whoever had them'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one', 'two', 'three', 'four', 'five', 'six');
  const first = await side.subscriber(queue, { id: 'first', ack: 'client-individual', 'prefetch-count': '2' });
  await first.get('MESSAGE', 'MESSAGE');
  const second = await side.subscriber(queue, { id: 'second', ack: 'client-individual', 'prefetch-count': '2' });
  await second.get('MESSAGE', 'MESSAGE');
  await second.leave();
  await first.leave();
  await seen(side, 'next', queue, 6);
};

cases['redelivery: NACK in the midst'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one', 'two', 'three', 'four');
  const peer = await side.subscriber(queue, { ack: 'client-individual', 'prefetch-count': '2' });
  const [first] = await peer.get('MESSAGE', 'MESSAGE');
  peer.send('NACK', { ...key(first, '1.2'), receipt: 'nacked' });
  await peer.expect('nacked', 'RECEIPT');
  // Before the third, which nobody has seen.
  await peer.expect('again', 'MESSAGE');
};

cases['redelivery: after UNSUBSCRIBE'] = async (side) => {
  const { queue, peer } = await three(side, { ack: 'client' });
  peer.send('UNSUBSCRIBE', { id: '0', receipt: 'gone' });
  await peer.expect('unsubscribed', 'RECEIPT');
  await side.fill(queue, 'last');
  const other = await side.subscriber(queue, { id: 'other' });
  const got = [];
  for (let message; (message = await other.get('MESSAGE')).text !== 'last'; ) got.push(message.text);
  side.note('to another, while the connection stays', got);
};

cases['acknowledging after UNSUBSCRIBE'] = async (side) => {
  const { peer, messages } = await three(side, { ack: 'client' });
  peer.send('UNSUBSCRIBE', { id: '0', receipt: 'gone' });
  await peer.expect('unsubscribed', 'RECEIPT');
  peer.send('ACK', { ...key(messages[2], '1.2'), receipt: 'r' });
  await peer.verdict('answer');
};

cases['ack:client is cumulative within one subscription'] = async (side) => {
  const [first, second] = [side.queue('first'), side.queue('second')];
  await side.fill(first, 'of the first');
  const peer = await side.subscriber(first, { id: 'first', ack: 'client' });
  await peer.get('MESSAGE');
  await side.fill(second, 'of the second');
  peer.send('SUBSCRIBE', { id: 'second', destination: second, ack: 'client', receipt: 'r' });
  await peer.get('RECEIPT');
  peer.send('ACK', { ...key(await peer.get('MESSAGE'), '1.2'), receipt: 'acked' });
  await peer.expect('acked', 'RECEIPT');
  await peer.leave();
  await side.fill(first, 'last');
  const next = await side.subscriber(first, { id: 'next' });
  const got = [];
  for (let message; (message = await next.get('MESSAGE')).text !== 'last'; ) got.push(message.text);
  side.note('left of the first', got);
};

for (const version of VERSIONS) {
  const wrong = {
    'no id': () => ({}),
    'an id of nothing': () => ({ id: 'nothing', 'message-id': 'nothing', subscription: '0' }),
    'an empty id': () => ({ id: '', 'message-id': '', subscription: '0' }),
    'a message-id where an id belongs': (message) =>
      version === '1.2' ? { 'message-id': message.header('message-id'), subscription: '0' } : { id: message.header('message-id') },
    'another subscription': (message) => ({ ...key(message, version), subscription: 'another' }),
    'no subscription': (message) => ({ ...key(message, version), subscription: undefined }),
  };
  for (const command of ['ACK', 'NACK']) {
    for (const [name, headers] of Object.entries(wrong)) {
      cases[`${command}: ${name}, ${version}`] = async (side) => {
        const queue = side.queue('q');
        await side.fill(queue, 'one');
        const peer = await side.subscriber(queue, { ack: 'client' }, version);
        const message = await peer.get('MESSAGE');
        peer.send(command, { ...headers(message), receipt: 'r' });
        const answer = await peer.verdict('answer');
        // What was requeued comes again.
        if (command === 'NACK' && answer?.command === 'RECEIPT') await peer.expect('again', 'MESSAGE');
      };
    }
  }

  cases[`acknowledging twice, ${version}`] = async (side) => {
    const { peer, messages, answered } = await three(side, { ack: 'client-individual' }, version);
    await answered('once', 'ACK', messages[0]);
    peer.send('ACK', { ...key(messages[0], version), receipt: 'twice' });
    await peer.refusal('twice');
  };

  cases[`acknowledging what came before an ACK of all, ${version}`] = async (side) => {
    const { peer, messages, answered } = await three(side, { ack: 'client' }, version);
    await answered('all', 'ACK', messages[2]);
    peer.send('ACK', { ...key(messages[0], version), receipt: 'one of them' });
    await peer.refusal('one of them');
  };

  cases[`acknowledging where it is not asked for, ${version}`] = async (side) => {
    const queue = side.queue('q');
    await side.fill(queue, 'one');
    const peer = await side.subscriber(queue, { ack: 'auto' }, version);
    const message = await peer.get('MESSAGE');
    peer.send('ACK', { id: message.header('message-id'), 'message-id': message.header('message-id'), subscription: '0', receipt: 'r' });
    await peer.refusal('answer');
  };

  cases[`acknowledging what another was given, ${version}`] = async (side) => {
    const queue = side.queue('q');
    await side.fill(queue, 'one');
    const peer = await side.subscriber(queue, { ack: 'client-individual' }, version);
    const message = await peer.get('MESSAGE');
    const thief = await side.connect(version);
    thief.send('ACK', { ...key(message, version), receipt: 'r' });
    await thief.refusal('answer');
  };
}

cases['prefetch-count: one at a time'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one', 'two', 'three');
  const slow = await side.subscriber(queue, { ack: 'client-individual', 'prefetch-count': '1' });
  const first = await slow.expect('the first', 'MESSAGE');
  const other = await side.subscriber(queue, { id: 'other', ack: 'client-individual', 'prefetch-count': '1' });
  const second = await other.expect('the second, to another', 'MESSAGE');
  other.send('ACK', { ...key(second, '1.2'), receipt: 'acked' });
  await other.expect('acked', 'RECEIPT');
  await other.expect('the third too', 'MESSAGE');
  slow.send('ACK', { ...key(first, '1.2'), receipt: 'acked' });
  await slow.expect('acked at last', 'RECEIPT');
  await side.fill(queue, 'four');
  await slow.expect('the next', 'MESSAGE');
};

cases['prefetch-count: several'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one', 'two', 'three', 'four', 'five');
  const first = await side.subscriber(queue, { ack: 'client', 'prefetch-count': '3' });
  const messages = await first.expect('three at once', 'MESSAGE', 'MESSAGE', 'MESSAGE');
  const second = await side.subscriber(queue, { id: 'other', ack: 'client', 'prefetch-count': '3' });
  await second.expect('the rest to another', 'MESSAGE', 'MESSAGE');
  first.send('ACK', { ...key(messages[2], '1.2'), receipt: 'acked' });
  await first.expect('acked', 'RECEIPT');
  await side.fill(queue, 'six', 'seven', 'eight', 'nine');
  await first.get('MESSAGE', 'MESSAGE', 'MESSAGE');
  await second.get('MESSAGE');
};

cases['prefetch-count: NACK makes room'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one');
  const peer = await side.subscriber(queue, { ack: 'client-individual', 'prefetch-count': '1' });
  peer.send('NACK', { ...key(await peer.get('MESSAGE'), '1.2'), receipt: 'r' });
  await peer.expect('nacked', 'RECEIPT');
  await peer.expect('again', 'MESSAGE');
};

for (const [name, value] of Object.entries({ zero: '0', 'no number': 'many', negative: '-1', empty: '' })) {
  cases[`prefetch-count: ${name}`] = async (side) => {
    const peer = await side.connect();
    peer.send('SUBSCRIBE', { id: '0', destination: side.queue('q'), ack: 'client', 'prefetch-count': value, receipt: 'r' });
    await peer.verdict('answer');
  };
}
