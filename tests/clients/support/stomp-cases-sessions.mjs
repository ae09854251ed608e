// Sessions and frames: how they begin and end, receipts, headers and bodies on their way through, and what is malformed.
import { SILENCE, VERSIONS } from './stomp-script.mjs';

export const cases = {};

const FROM_1_1 = ['1.1', '1.2'];

for (const [name, headers] of Object.entries({
  'without accept-version': {},
  'version 1.0': { 'accept-version': '1.0' },
  'version 1.1': { 'accept-version': '1.1', host: '/' },
  'version 1.2': { 'accept-version': '1.2', host: '/' },
  'the highest of several': { 'accept-version': '1.2,1.0,1.1', host: '/' },
  'the highest of ours': { 'accept-version': '1.1,1.9,2.0', host: '/' },
  'no version in common': { 'accept-version': '0.9,2.0', host: '/' },
  'without host': { 'accept-version': '1.2' },
  'a host of no such name': { 'accept-version': '1.2', host: 'stomp.example.org' },
  'a login': { 'accept-version': '1.2', host: '/', login: 'guest', passcode: 'guest' },
  'a login that nobody configured': { 'accept-version': '1.2', host: '/', login: 'someone', passcode: 'secret' },
  'heart-beats': { 'accept-version': '1.2', host: '/', 'heart-beat': '5000,5000' },
  'heart-beats that are none': { 'accept-version': '1.2', host: '/', 'heart-beat': 'often' },
  'a backslash, which is not an escape here': { 'accept-version': '1.2', host: '/', client: 'a\\b' },
})) {
  cases[`connecting: ${name}`] = async (side) => {
    const peer = await side.reach();
    peer.send('CONNECT', headers);
    await peer.verdict('answer');
  };
}

for (const version of FROM_1_1) {
  cases[`connecting: STOMP in place of CONNECT, ${version}`] = async (side) => {
    const peer = await side.reach();
    peer.send('STOMP', { 'accept-version': version, host: '/' });
    await peer.expect('answer', 'CONNECTED');
  };
}

cases['connecting: lines that end with CR and LF'] = async (side) => {
  const peer = await side.reach();
  peer.raw('CONNECT\r\naccept-version:1.2\r\nhost:/\r\n\r\n\0');
  await peer.expect('answer', 'CONNECTED');
};

cases['connecting: EOLs before and after'] = async (side) => {
  const peer = await side.reach();
  peer.raw('\n\n\nCONNECT\naccept-version:1.2\nhost:/\n\n\0\n\n\n');
  await peer.expect('answer', 'CONNECTED');
  peer.version = '1.2';
  peer.raw('\n').send('BEGIN', { transaction: 'tx', receipt: 'r' }).raw('\n\r\n');
  await peer.expect('receipt', 'RECEIPT');
};

cases['connecting: twice'] = async (side) => {
  const peer = await side.connect();
  peer.send('CONNECT', { 'accept-version': '1.2', host: '/' });
  await peer.verdict('answer');
};

for (const [command, headers] of Object.entries({
  SEND: { destination: '/topic/early' },
  SUBSCRIBE: { id: '0', destination: '/topic/early' },
  UNSUBSCRIBE: { id: '0' },
  ACK: { id: '0' },
  BEGIN: { transaction: 'tx' },
  DISCONNECT: {},
  MESSAGE: { destination: '/topic/early' },
  SHOUT: {},
})) {
  cases[`before CONNECT: ${command}`] = async (side) => {
    const peer = await side.reach();
    peer.send(command, { ...headers, receipt: 'r' });
    await peer.verdict('answer');
  };
}

for (const version of VERSIONS) {
  cases[`receipts: ${version}`] = async (side) => {
    const peer = await side.connect(version);
    const destination = side.queue('q');
    const answered = async (step, command, headers, body) => {
      peer.send(command, { ...headers, receipt: `r-${step}` }, body);
      return peer.expect(step, 'RECEIPT');
    };
    const key = (message) => ({
      '1.0': { 'message-id': message.header('message-id') },
      1.1: { 'message-id': message.header('message-id'), subscription: '0' },
      1.2: { id: message.header('ack') },
    })[version];
    await answered('subscribe', 'SUBSCRIBE', { id: '0', destination, ack: 'client-individual' });
    await answered('begin', 'BEGIN', { transaction: 't1' });
    await answered('commit', 'COMMIT', { transaction: 't1' });
    await answered('begin again', 'BEGIN', { transaction: 't1' });
    await answered('abort', 'ABORT', { transaction: 't1' });
    await answered('send', 'SEND', { destination }, 'one');
    await answered('ack', 'ACK', key(await peer.expect('message', 'MESSAGE')));
    if (version !== '1.0') {
      await answered('send again', 'SEND', { destination }, 'two');
      await answered('nack', 'NACK', { ...key(await peer.expect('second message', 'MESSAGE')) });
      await answered('ack after nack', 'ACK', key(await peer.expect('second message again', 'MESSAGE')));
    }
    await answered('unsubscribe', 'UNSUBSCRIBE', { id: '0' });
    await answered('disconnect', 'DISCONNECT', {});
    peer.end();
    await peer.gone('end');
  };

  cases[`receipts: odd ids, ${version}`] = async (side) => {
    const peer = await side.connect(version);
    for (const [step, receipt] of Object.entries({
      colon: 'a:b',
      spaces: 'a b',
      'escaped colon': version === '1.0' ? 'a;b' : 'a\\cb',
      'escaped newline': version === '1.0' ? 'a' : 'a\\nb',
      unicode: 'Grüße ☂ 𝄞',
    })) {
      peer.send('BEGIN', { transaction: step.replace(' ', '-'), receipt });
      await peer.expect(step, 'RECEIPT');
    }
  };
}

cases['disconnecting without a receipt'] = async (side) => {
  const peer = await side.connect();
  peer.send('DISCONNECT');
  peer.end();
  await peer.gone('end');
};

cases['disconnecting: frames behind it are not looked at'] = async (side) => {
  const peer = await side.connect();
  peer.raw('DISCONNECT\nreceipt:bye\n\n\0SHOUT\n\n\0');
  await peer.expect('receipt', 'RECEIPT');
  peer.end();
  await peer.gone('end');
};

const SENT = {
  plain: { headers: { kind: 'plain', 'x-number': '42' }, body: 'text' },
  'no body': { headers: {} },
  'an empty body that says so': { headers: { 'content-length': '0' } },
  'content-type': { headers: { 'content-type': 'application/json;charset=utf-8' }, body: '{}' },
  'content-length': { headers: { 'content-length': '3' }, body: 'abc' },
  'NUL in the body': { headers: { 'content-length': '5' }, body: 'a\0b\0c' },
  octets: { headers: { 'content-length': '4', 'content-type': 'application/octet-stream' }, body: Buffer.from([0xff, 0, 0x80, 0xfe]) },
  newlines: { headers: {}, body: '\n\r\n a \n\n' },
  'an empty value': { headers: { empty: '', next: 'x' } },
  'colons in a value': { headers: { url: 'http://localhost:1/a:b' } },
  'a space before and after a value': { headers: { space: ' x ' } },
  'repeated headers': { headers: [['dup', 'first'], ['dup', 'second'], ['dup', 'third']] },
  'names of upper case': { headers: { Upper: 'Case' } },
  unicode: { headers: { name: 'Grüße ☂ 𝄞' }, body: 'Ωμέγα — 漢字 𝄞' },
  'what AMQP knows': {
    headers: {
      'content-encoding': 'gzip', priority: '4', 'correlation-id': 'c-1', expiration: '60000', 'amqp-message-id': 'm-1',
      timestamp: '1700000000', type: 'kind', 'app-id': 'app', persistent: 'true',
    },
  },
};
for (const version of VERSIONS) {
  for (const kind of ['topic', 'queue']) {
    cases[`through a ${kind}: headers and bodies, ${version}`] = async (side) => {
      const destination = side[kind]('through');
      const reader = await side.subscriber(destination, {}, version);
      const writer = await side.connect(version);
      for (const [step, { headers, body }] of Object.entries(SENT)) {
        writer.send('SEND', [['destination', destination], ...(Array.isArray(headers) ? headers : Object.entries(headers))], body);
        await reader.expect(step, 'MESSAGE');
      }
    };
  }
}

for (const name of ['message-id', 'subscription', 'ack', 'redelivered', 'user-name', 'receipt-id', 'message', 'version']) {
  cases[`through a queue: a SEND that says ${name}`] = async (side) => {
    const destination = side.queue('forged');
    const reader = await side.subscriber(destination, { ack: 'client' });
    const writer = await side.connect();
    writer.send('SEND', { destination, [name]: 'forged', receipt: 'r' });
    const answer = await writer.verdict('answer');
    if (answer?.command !== 'RECEIPT') return;
    const message = await reader.expect('message', 'MESSAGE');
    if (name.endsWith('-id') || name === 'ack' || name === 'subscription') side.note("the server's own", message.header(name) !== 'forged');
  };
}

/** As written by the sender; what each receiver is sent is compared. */
const ESCAPED = {
  '1.0': { backslash: 'a\\\\b', 'backslash and n': 'a\\nb', 'backslash alone': 'a\\b' },
  1.1: { colon: 'a\\cb', newline: 'a\\nb', backslash: 'a\\\\b', 'backslash, then n': 'a\\\\nb' },
  1.2: { colon: 'a\\cb', newline: 'a\\nb', return: 'a\\rb', backslash: 'a\\\\b', 'backslash, then n': 'a\\\\nb', all: '\\c\\n\\\\\\r' },
};
for (const from of VERSIONS) {
  for (const to of VERSIONS) {
    cases[`escapes: ${from} to ${to}`] = async (side) => {
      const destination = side.topic('escapes');
      for (const [step, value] of Object.entries(ESCAPED[from])) {
        const reader = await side.subscriber(destination, { id: step.replaceAll(/[ ,]/g, '-') }, to);
        if (step === 'backslash alone') reader.patience = SILENCE;
        (await side.connect(from)).send('SEND', { destination, odd: value });
        await reader.expect(step, 'MESSAGE');
        reader.vanish();
      }
    };
  }
}

for (const version of FROM_1_1) {
  cases[`escapes in names and destinations, ${version}`] = async (side) => {
    const reader = await side.subscriber(side.topic('a\\cb'), { id: 'i\\cd' }, version);
    (await side.connect(version)).send('SEND', { destination: side.topic('a\\cb'), 'na\\cme': 'x' });
    await reader.expect('message', 'MESSAGE');
  };
}

const DESTINATION = 'destination:/topic/malformed\nreceipt:r\n';
for (const version of VERSIONS) {
  const malformed = {
    'a command that does not exist': 'SHOUT\nreceipt:r\n\n\0',
    'a command of lower case': `send\n${DESTINATION}\n\0`,
    "a command of the server's": `MESSAGE\n${DESTINATION}\n\0`,
    'a header without a colon': `SEND\n${DESTINATION}nonsense\n\n\0`,
    'a header without a name': `SEND\n${DESTINATION}:value\n\n\0`,
    'an unknown escape': `SEND\n${DESTINATION}x:a\\tb\n\n\0`,
    'an escape cut short': `SEND\n${DESTINATION}x:a\\\n\n\0`,
    'a length that is no number': `SEND\n${DESTINATION}content-length:ten\n\nbody\0`,
    'a negative length': `SEND\n${DESTINATION}content-length:-1\n\nbody\0`,
    'a length with a sign': `SEND\n${DESTINATION}content-length:+4\n\nbody\0`,
    'a length beyond all bounds': `SEND\n${DESTINATION}content-length:99999999999999999999\n\nbody\0`,
    'an empty length': `SEND\n${DESTINATION}content-length:\n\nbody\0`,
    'more body than its length': `SEND\n${DESTINATION}content-length:1\n\nbody\0`,
    'a SUBSCRIBE with a body': `SUBSCRIBE\nid:0\n${DESTINATION}\nbody\0`,
    'nothing but a command': 'SEND\0',
    'CR in a line': `SEND\n${DESTINATION}x:a\rb\n\n\0`,
  };
  for (const [name, octets] of Object.entries(malformed)) {
    cases[`malformed: ${name}, ${version}`] = async (side) => {
      const peer = await side.connect(version);
      if (/beyond all bounds|nothing but/.test(name)) peer.patience = SILENCE;
      peer.raw(octets);
      await peer.verdict('answer');
    };
  }
}

cases['pieces: an octet at a time'] = async (side) => {
  const destination = side.topic('pieces');
  const peer = await side.subscriber(destination);
  for (const octet of `SEND\ndestination:${destination}\nx:a\\nb\n\nslowly\0`) peer.raw(octet);
  await peer.expect('message', 'MESSAGE');
};

cases['pieces: many frames at once'] = async (side) => {
  const destination = side.topic('many');
  const peer = await side.subscriber(destination);
  peer.raw(Array.from({ length: 20 }, (_, i) => `SEND\ndestination:${destination}\n\n${i}\0\n`).join(''));
  await peer.expect('message', ...Array(20).fill('MESSAGE'));
};

cases['pieces: a body of one megabyte'] = async (side) => {
  const destination = side.queue('large');
  const peer = await side.subscriber(destination);
  const body = Buffer.alloc(1 << 20, 'stentor ');
  peer.send('SEND', { destination, receipt: 'r' }, body);
  await peer.expect('receipt', 'RECEIPT');
  const message = await peer.expect('message', 'MESSAGE');
  side.note('whole', message.body.equals(body));
};
