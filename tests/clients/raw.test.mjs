// What goes over the wire, by hand: SockJS frames as a person types them, raw STOMP frames as they are.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { sharedServer } from './support/server.mjs';
import { freshTopic } from './support/stomp.mjs';
import { Inbox, within } from './support/wait.mjs';

let server;
before(async () => (server = await sharedServer()));
after(() => server?.stop());

/** An open WebSocket at `path`, its text messages in `inbox`, its end in `closed`. */
async function open(t, path, protocols = []) {
  const socket = new WebSocket(`${server.url.replace(/^http/, 'ws')}${path}`, protocols);
  t.after(() => socket.terminate());
  const inbox = new Inbox();
  socket.on('message', (data) => inbox.push(data.toString()));
  const closed = new Promise((resolve) => socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })));
  await within(5000, new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), `${path} to open`);
  return { socket, inbox, closed: () => within(5000, closed, 'the connection to close'), send: (text) => socket.send(text) };
}

const starts = (text) => (message) => message.startsWith(text);
const CONNECT = 'CONNECT\naccept-version:1.2\n\n\0';

describe('SockJS by hand', () => {
  /** As typed into wscat: the escapes are the JSON's own. */
  const typed = String.raw`["CONNECT\naccept-version:1.2\n\n\u0000"]`;

  test('the documented line opens a STOMP session', async (t) => {
    const { inbox, send } = await open(t, '/ws/0/x/websocket');
    await inbox.atLeast(1);
    assert.equal(inbox.items[0], 'o');
    send(typed);
    const connected = await inbox.first(starts('a["CONNECTED'), 'CONNECTED');
    const [frame] = JSON.parse(connected.slice(1));
    assert.match(frame, /^CONNECTED\n(?:[^\n]+\n)*\n\0$/);
    for (const header of ['version:1.2', 'heart-beat:', 'server:', 'session:']) assert.ok(frame.includes(`\n${header}`), header);
  });

  test('a malformed frame gets an ERROR that says what was wrong, then the end', async (t) => {
    const { inbox, send, closed } = await open(t, '/ws/0/x/websocket');
    send(typed);
    await inbox.first(starts('a["CONNECTED'), 'CONNECTED');
    send(String.raw`["SEND\ndestination /topic/a\n\nbody\u0000"]`);
    const answer = await inbox.first(starts('a["ERROR'), 'an ERROR');
    assert.match(answer, /colon|":"/i);
    await inbox.first(starts('c['), 'the SockJS close frame');
    await closed();
  });

  test('empty messages say nothing, broken JSON ends the session', async (t) => {
    const { inbox, send, closed } = await open(t, '/ws/0/x/websocket');
    send('');
    send(typed);
    await inbox.first(starts('a["CONNECTED'), 'CONNECTED');
    send('["SEND');
    await closed();
  });

  test('two sessions of one name do not know each other', async (t) => {
    const first = await open(t, '/ws/0/same/websocket');
    const second = await open(t, '/ws/1/same/websocket');
    for (const { inbox, send } of [first, second]) {
      send(typed);
      await inbox.first(starts('a["CONNECTED'), 'CONNECTED');
    }
  });
});

describe('raw WebSocket by hand', () => {
  const faults = {
    'a command that does not exist': ['SHOUT\ndestination:/topic/a\n\n\0', /SHOUT|command/i],
    'a header without a colon': ['SEND\ndestination /topic/a\n\n\0', /colon|":"/i],
    'an escape that does not exist': ['SEND\ndestination:/topic/a\nx:tab\\t\n\n\0', /escape|\\t/i],
    'a length that is no number': ['SEND\ndestination:/topic/a\ncontent-length:ten\n\n\0', /content-length/i],
    'a body longer than its length': ['SEND\ndestination:/topic/a\ncontent-length:1\n\nab\0', /content-length|NUL|octet/i],
    'a SEND without a destination': ['SEND\n\nbody\0', /destination/i],
    'a SUBSCRIBE without an id': ['SUBSCRIBE\ndestination:/topic/a\n\n\0', /\bid\b/i],
    'a pattern with # in its midst': ['SUBSCRIBE\nid:0\ndestination:/topic/a.#.b\n\n\0', /#/],
    'a second CONNECT': [CONNECT, /CONNECT/i],
  };
  for (const [fault, [frame, said]] of Object.entries(faults)) {
    test(`${fault} is named in the ERROR, and the connection closes`, async (t) => {
      const { inbox, send, closed } = await open(t, '/ws/websocket', ['v12.stomp']);
      send(CONNECT);
      await inbox.first(starts('CONNECTED'), 'CONNECTED');
      send(frame);
      const error = await inbox.first(starts('ERROR'), 'an ERROR');
      assert.match(error, /\nmessage:[^\n]+/);
      assert.match(error, said);
      const { code } = await closed();
      assert.notEqual(code, 1006, 'closed with a close frame');
      assert.ok(!inbox.items.slice(inbox.items.indexOf(error) + 1).length, 'nothing after the ERROR');
    });
  }

  test('a frame before CONNECT is an ERROR', async (t) => {
    const { inbox, send, closed } = await open(t, '/ws/websocket');
    send('SEND\ndestination:/topic/a\n\nbody\0');
    assert.match(await inbox.first(starts('ERROR'), 'an ERROR'), /CONNECT/);
    await closed();
  });

  test('no common version is an ERROR that lists ours', async (t) => {
    const { inbox, send, closed } = await open(t, '/ws/websocket');
    send('CONNECT\naccept-version:0.9,2.0\n\n\0');
    assert.match(await inbox.first(starts('ERROR'), 'an ERROR'), /\nversion:[^\n]*1\.2/);
    await closed();
  });

  test('no subprotocol is needed, and one of those offered is chosen', async (t) => {
    const plain = await open(t, '/ws/websocket');
    assert.equal(plain.socket.protocol, '');
    const chosen = await open(t, '/ws/websocket', ['v10.stomp', 'v11.stomp', 'v12.stomp']);
    assert.match(chosen.socket.protocol, /^v1[012]\.stomp$/);
  });

  test('header values that stomp.js cannot read itself are right on the wire', async (t) => {
    const { inbox, send } = await open(t, '/ws/websocket');
    const topic = freshTopic();
    send(CONNECT);
    send(`SUBSCRIBE\nid:0\ndestination:${topic}\n\n\0`);
    send(`SEND\ndestination:${topic}\npath:C\\c\\\\new\\\\\\nline\n\n\0`);
    const message = await inbox.first(starts('MESSAGE'), 'the MESSAGE');
    assert.ok(message.includes('\npath:C\\c\\\\new\\\\\\nline\n'), message);
  });

  test('each receiver gets headers escaped as its own version has it', async (t) => {
    const topic = freshTopic();
    const wanted = { '1.0': 'a:b\\d', '1.1': 'a\\cb\\\\d', '1.2': 'a\\cb\\\\d' };
    const receivers = {};
    for (const version of Object.keys(wanted)) {
      const { inbox, send } = await open(t, '/ws/websocket');
      send(`CONNECT\naccept-version:${version}\n\n\0`);
      send(`SUBSCRIBE\nid:0\ndestination:${topic}\nreceipt:subscribed\n\n\0`);
      await inbox.first(starts('RECEIPT'), 'the RECEIPT');
      receivers[version] = inbox;
    }
    const { send } = await open(t, '/ws/websocket');
    send(CONNECT);
    send(`SEND\ndestination:${topic}\nodd:a\\cb\\\\d\n\n\0`);
    for (const [version, value] of Object.entries(wanted)) {
      const message = await receivers[version].first(starts('MESSAGE'), `the MESSAGE in ${version}`);
      assert.ok(message.includes(`\nodd:${value}\n`), `${version}: ${message}`);
    }
  });

  test('the receipt of a SUBSCRIBE precedes its first message', async (t) => {
    const { inbox, send } = await open(t, '/ws/websocket');
    send(CONNECT);
    send('SUBSCRIBE\nid:0\ndestination:/topic/metrics\nreceipt:subscribed\n\n\0');
    await inbox.first(starts('MESSAGE'), 'a tick');
    const commands = inbox.items.map((frame) => frame.split('\n', 1)[0]).filter(Boolean);
    assert.deepEqual(commands.slice(0, 3), ['CONNECTED', 'RECEIPT', 'MESSAGE']);
  });

  test('a heart-beat is a lone newline in a message of its own', async (t) => {
    const { inbox, send } = await open(t, '/ws/websocket');
    send('CONNECT\naccept-version:1.2\nheart-beat:0,1000\n\n\0');
    const connected = await inbox.first(starts('CONNECTED'), 'CONNECTED');
    assert.match(connected, /\nheart-beat:\d+,\d+\n/);
    await inbox.first((message) => message === '\n', 'a heart-beat');
  });

  test('a frame that comes an octet at a time is one frame', async (t) => {
    const { inbox, send } = await open(t, '/ws/websocket');
    const topic = freshTopic();
    send(CONNECT);
    send(`SUBSCRIBE\nid:0\ndestination:${topic}\n\n\0`);
    for (const octet of `SEND\ndestination:${topic}\n\nslowly\0`) send(octet);
    assert.match(await inbox.first(starts('MESSAGE'), 'the MESSAGE'), /\n\nslowly\0$/);
  });
});
