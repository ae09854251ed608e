// Transactions: what is seen of them and when, and which can't be.
import { key } from './stomp-cases-acks.mjs';
import { VERSIONS } from './stomp-script.mjs';

export const cases = {};

/** A session with a transaction begun. */
async function begun(side, version = '1.2', transaction = 'tx') {
  const peer = await side.connect(version);
  peer.send('BEGIN', { transaction, receipt: `begin ${transaction}` });
  await peer.get('RECEIPT');
  return peer;
}

/** The bodies that come before `marker`, which is sent now, outside of all transactions. */
async function before(side, reader, destination, marker) {
  await side.fill(destination, marker);
  const got = [];
  for (let message; (message = await reader.get('MESSAGE')).text !== marker; ) got.push(message.text);
  return got;
}

for (const version of VERSIONS) {
  for (const kind of ['topic', 'queue']) {
    cases[`SEND to a ${kind}: nothing before COMMIT, all after it, ${version}`] = async (side) => {
      const destination = side[kind]('t');
      const reader = await side.subscriber(destination);
      const peer = await begun(side, version);
      for (const body of ['one', 'two', 'three']) peer.send('SEND', { destination, transaction: 'tx', kind: 'mine' }, body);
      peer.send('BEGIN', { transaction: 'later', receipt: 'taken' });
      await peer.get('RECEIPT');
      side.note('before', await before(side, reader, destination, 'marker'));
      peer.send('COMMIT', { transaction: 'tx', receipt: 'committed' });
      await peer.expect('committed', 'RECEIPT');
      await reader.expect('after', 'MESSAGE', 'MESSAGE', 'MESSAGE');
    };
  }

  cases[`ABORT: nothing of it, ${version}`] = async (side) => {
    const destination = side.queue('t');
    const peer = await begun(side, version);
    peer.send('SEND', { destination, transaction: 'tx' }, 'no').send('ABORT', { transaction: 'tx', receipt: 'aborted' });
    await peer.expect('aborted', 'RECEIPT');
    const reader = await side.subscriber(destination);
    side.note('seen', await before(side, reader, destination, 'marker'));
  };

  cases[`a lost connection aborts, ${version}`] = async (side) => {
    const destination = side.queue('t');
    const peer = await begun(side, version);
    peer.send('SEND', { destination, transaction: 'tx' }, 'no').send('BEGIN', { transaction: 'later', receipt: 'taken' });
    await peer.get('RECEIPT');
    peer.vanish();
    const reader = await side.subscriber(destination);
    side.note('seen', await before(side, reader, destination, 'marker'));
  };

  cases[`a goodbye aborts, ${version}`] = async (side) => {
    const destination = side.queue('t');
    const peer = await begun(side, version);
    peer.send('SEND', { destination, transaction: 'tx' }, 'no');
    await peer.leave();
    const reader = await side.subscriber(destination);
    side.note('seen', await before(side, reader, destination, 'marker'));
  };

  for (const end of ['COMMIT', 'ABORT']) {
    cases[`ACK within one: ${end}, ${version}`] = async (side) => {
      const queue = side.queue('q');
      await side.fill(queue, 'one', 'two');
      const peer = await side.subscriber(queue, { ack: 'client-individual' }, version);
      const messages = await peer.get('MESSAGE', 'MESSAGE');
      peer.send('BEGIN', { transaction: 'tx' });
      for (const message of messages) peer.send('ACK', { ...key(message, version), transaction: 'tx' });
      peer.send(end, { transaction: 'tx', receipt: 'ended' });
      await peer.expect('ended', 'RECEIPT');
      await peer.leave();
      const reader = await side.subscriber(queue, { id: 'next' });
      side.note('delivered again', await before(side, reader, queue, 'marker'));
    };
  }

  for (const [name, frames] of Object.entries({
    'COMMIT of an unknown one': [['COMMIT', { transaction: 'unknown' }]],
    'ABORT of an unknown one': [['ABORT', { transaction: 'unknown' }]],
    'SEND in an unknown one': [['SEND', { destination: '/topic/x', transaction: 'unknown' }]],
    'BEGIN without a name': [['BEGIN', {}]],
    'COMMIT without a name': [['COMMIT', {}]],
    'ABORT without a name': [['ABORT', {}]],
    'BEGIN twice': [['BEGIN', { transaction: 'tx' }], ['BEGIN', { transaction: 'tx' }]],
    'COMMIT twice': [['BEGIN', { transaction: 'tx' }], ['COMMIT', { transaction: 'tx' }], ['COMMIT', { transaction: 'tx' }]],
    'ABORT after COMMIT': [['BEGIN', { transaction: 'tx' }], ['COMMIT', { transaction: 'tx' }], ['ABORT', { transaction: 'tx' }]],
    'SEND after ABORT': [['BEGIN', { transaction: 'tx' }], ['ABORT', { transaction: 'tx' }], ['SEND', { destination: '/topic/x', transaction: 'tx' }]],
    'BEGIN again after COMMIT': [['BEGIN', { transaction: 'tx' }], ['COMMIT', { transaction: 'tx' }], ['BEGIN', { transaction: 'tx' }]],
    'SEND to nowhere': [['BEGIN', { transaction: 'tx' }], ['SEND', { destination: '/nowhere/x', transaction: 'tx' }]],
    'SUBSCRIBE, which knows none': [['BEGIN', { transaction: 'tx' }], ['SUBSCRIBE', { id: '0', destination: '/topic/x', transaction: 'tx' }]],
  })) {
    cases[`${name}, ${version}`] = async (side) => {
      const peer = await side.connect(version);
      for (const [command, headers] of frames.slice(0, -1)) {
        peer.send(command, { ...headers, receipt: 'before' });
        await peer.get('RECEIPT');
      }
      const [command, headers] = frames.at(-1);
      peer.send(command, { ...headers, receipt: 'r' });
      await peer.verdict('answer');
    };
  }
}

cases['ACK in an unknown one'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one');
  const peer = await side.subscriber(queue, { ack: 'client' });
  peer.send('ACK', { ...key(await peer.get('MESSAGE'), '1.2'), transaction: 'unknown', receipt: 'r' });
  await peer.verdict('answer');
};

cases['an ACK of nothing within one'] = async (side) => {
  const queue = side.queue('t');
  const reader = await side.subscriber(queue);
  const peer = await begun(side);
  peer.send('SEND', { destination: queue, transaction: 'tx' }, 'half').send('ACK', { id: 'nothing', transaction: 'tx', receipt: 'r' });
  const answer = await peer.verdict('ACK');
  if (answer?.command === 'RECEIPT') await peer.send('COMMIT', { transaction: 'tx', receipt: 'committed' }).verdict('COMMIT');
  side.note('seen', await before(side, reader, queue, 'marker'));
};

cases['an ACK of all within one'] = async (side) => {
  const queue = side.queue('q');
  await side.fill(queue, 'one', 'two', 'three');
  const peer = await side.subscriber(queue, { ack: 'client' });
  const messages = await peer.get('MESSAGE', 'MESSAGE', 'MESSAGE');
  peer.send('BEGIN', { transaction: 'tx' }).send('ACK', { ...key(messages[1], '1.2'), transaction: 'tx' });
  peer.send('COMMIT', { transaction: 'tx', receipt: 'committed' });
  await peer.expect('committed', 'RECEIPT');
  await peer.leave();
  const reader = await side.subscriber(queue, { id: 'next' });
  side.note('delivered again', await before(side, reader, queue, 'marker'));
};

for (const end of ['COMMIT', 'ABORT']) {
  cases[`NACK within one: ${end}`] = async (side) => {
    const queue = side.queue('q');
    await side.fill(queue, 'one');
    const peer = await side.subscriber(queue, { ack: 'client-individual' });
    const message = await peer.get('MESSAGE');
    peer.send('BEGIN', { transaction: 'tx' }).send('NACK', { ...key(message, '1.2'), transaction: 'tx', receipt: 'taken' });
    await peer.expect('taken', 'RECEIPT');
    peer.send(end, { transaction: 'tx', receipt: 'ended' });
    await peer.expect('ended', 'RECEIPT');
    if (end === 'COMMIT') return void (await peer.expect('again', 'MESSAGE'));
    // As if it had not been said: it can still be.
    peer.send('ACK', { ...key(message, '1.2'), receipt: 'acked' });
    await peer.verdict('acked');
  };
}

cases['take from one queue and put into another, at once'] = async (side) => {
  const [from, to] = [side.queue('from'), side.queue('to')];
  await side.fill(from, 'work');
  const result = await side.subscriber(to);
  const peer = await side.subscriber(from, { ack: 'client' });
  const message = await peer.get('MESSAGE');
  peer.send('BEGIN', { transaction: 'tx' }).send('SEND', { destination: to, transaction: 'tx' }, 'done');
  peer.send('ACK', { ...key(message, '1.2'), transaction: 'tx' }).send('COMMIT', { transaction: 'tx', receipt: 'committed' });
  await peer.expect('committed', 'RECEIPT');
  await result.expect('result', 'MESSAGE');
  await peer.leave();
  const reader = await side.subscriber(from, { id: 'next' });
  side.note('left', await before(side, reader, from, 'marker'));
};

cases['two at a time'] = async (side) => {
  const destination = side.queue('t');
  const reader = await side.subscriber(destination);
  const peer = await begun(side, '1.2', 'one');
  peer.send('BEGIN', { transaction: 'two', receipt: 'both' });
  await peer.get('RECEIPT');
  for (const [transaction, body] of [['one', '1a'], ['two', '2a'], ['one', '1b'], ['two', '2b']]) peer.send('SEND', { destination, transaction }, body);
  peer.send('COMMIT', { transaction: 'two', receipt: 'second' });
  await peer.expect('the second', 'RECEIPT');
  await reader.expect('of the second', 'MESSAGE', 'MESSAGE');
  peer.send('COMMIT', { transaction: 'one', receipt: 'first' });
  await peer.expect('the first', 'RECEIPT');
  await reader.expect('of the first', 'MESSAGE', 'MESSAGE');
};

cases['one of another connection'] = async (side) => {
  await begun(side);
  const peer = await side.connect();
  peer.send('SEND', { destination: side.queue('t'), transaction: 'tx', receipt: 'r' });
  await peer.verdict('answer');
};

cases['receipts within one'] = async (side) => {
  const destination = side.queue('t');
  const peer = await begun(side);
  peer.send('SEND', { destination, transaction: 'tx', receipt: 'sent' }, 'one').send('COMMIT', { transaction: 'tx', receipt: 'committed' });
  const receipts = await peer.get('RECEIPT', 'RECEIPT');
  side.note('receipts', receipts.map((receipt) => receipt.header('receipt-id')).sort());
  const reader = await side.subscriber(destination);
  await reader.expect('message', 'MESSAGE');
};

cases['outside of one that is open'] = async (side) => {
  const destination = side.queue('t');
  const reader = await side.subscriber(destination);
  const peer = await begun(side);
  peer.send('SEND', { destination, transaction: 'tx' }, 'within').send('SEND', { destination, receipt: 'r' }, 'outside');
  await peer.expect('receipt', 'RECEIPT');
  await reader.expect('message', 'MESSAGE');
};
