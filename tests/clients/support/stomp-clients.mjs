// Client libraries for JavaScript behind one face, so that one set of tests serves all of them: what each calls differently
// is here, and nothing of what is expected.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { TCPWrapper } from '@stomp/tcp-wrapper';
import stompit from 'stompit';
import { WebSocket } from 'ws';
import webstomp from 'webstomp-client';
import { connect as connectStompJs, publish, receipted, subscribe } from './stomp.mjs';
import { eventually, Inbox, within } from './wait.mjs';

/*
 * A session:
 * - `user`: the name that CONNECTED repeats
 * - `subscribe(destination, headers)`: the inbox of its messages, `{ body, octets, headers, ack(transaction?), nack() }`
 * - `publish(destination, body, headers)`: done when there is a receipt; `body` is a string, or octets where the client can
 * - `begin()`: `{ id, publish(destination, body), commit(), abort() }`, the latter two done when the server has done them
 * - `leave()`: says goodbye; `errors`: the inbox of ERRORs, as texts; `closed`: resolves when the connection is no more
 * - `beats()`: a number that rises with each heart-beat of the server
 */

/** `over` is `tcp`, `websocket` or `sockjs`; `binary`, whether it can send octets. */
export const CLIENTS = {
  'stomp.js over WebSocket': {
    over: 'websocket',
    binary: true,
    connect: (t, server, options) => stompJs(t, server, { over: 'websocket', brokerURL: server.webSocketUrl }, options),
  },
  'stomp.js over SockJS': { over: 'sockjs', binary: false, connect: (t, server, options) => stompJs(t, server, {}, options) },
  'stomp.js over TCP': {
    over: 'tcp',
    binary: true,
    connect: (t, server, options) => stompJs(t, server, { webSocketFactory: () => new TCPWrapper('127.0.0.1', server.tcpPort) }, options),
  },
  'webstomp-client over WebSocket': { over: 'websocket', binary: false, connect: webstompClient },
  'stompit over TCP': { over: 'tcp', binary: true, connect: stompitClient },
};

async function stompJs(t, server, way, { beat = 0 } = {}) {
  let user;
  let beats = 0;
  const client = await connectStompJs(t, server.url ?? '', {
    over: 'sockjs',
    ...way,
    connectHeaders: { login: server.login, passcode: server.passcode, host: '/' },
    heartbeatIncoming: beat,
    heartbeatOutgoing: beat,
    onHeartbeatReceived: () => (beats += 1),
    onConnect: ({ headers }) => (user = headers['user-name']),
  });
  const errors = new Inbox();
  const { onStompError } = client;
  client.onStompError = (frame) => {
    errors.push(`${frame.headers.message}\n${frame.body}`);
    onStompError(frame);
  };
  // A frame that asks for a receipt, behind those that can't.
  const settle = () => receipted(client, (receipt) => client.publish({ destination: '/topic/settled', headers: { receipt } }));
  return {
    user,
    errors,
    closed: client.closes.first(() => true, 'the connection to close', 120_000),
    beats: () => beats,
    async subscribe(destination, headers) {
      const inbox = new Inbox();
      const messages = await subscribe(client, destination, headers);
      const push = (message) =>
        inbox.push({
          body: message.body,
          octets: message.binaryBody,
          headers: message.headers,
          ack: (transaction) => message.ack(transaction ? { transaction } : {}),
          nack: () => message.nack(),
        });
      messages.items.forEach(push);
      messages.push = push;
      return inbox;
    },
    publish: (destination, body, headers) =>
      publish(client, destination, typeof body === 'string' ? { body, headers } : { binaryBody: body, headers }),
    begin() {
      const transaction = client.begin();
      return {
        id: transaction.id,
        publish: (destination, body) => client.publish({ destination, body, headers: { transaction: transaction.id } }),
        commit: async () => (transaction.commit(), settle()),
        abort: async () => (transaction.abort(), settle()),
      };
    },
    settle,
    leave: () => client.deactivate(),
  };
}

async function webstompClient(t, server, { beat = 0 } = {}) {
  const socket = new WebSocket(server.webSocketUrl, webstomp.VERSIONS.supportedProtocols());
  t.after(() => socket.terminate());
  let beats = 0;
  socket.addEventListener('message', ({ data }) => (beats += data === '\n' ? 1 : 0));
  const errors = new Inbox();
  const receipts = new Inbox();
  const client = webstomp.over(socket, { debug: false, heartbeat: { outgoing: beat, incoming: beat } });
  const closed = once(socket, 'close');
  const headers = { login: server.login, passcode: server.passcode, host: '/' };
  const { headers: connected } = await within(
    5000,
    new Promise((resolve, reject) => {
      client.connect(headers, resolve, (problem) => {
        // Its close comes the same way.
        if (problem.command === 'ERROR') errors.push(`${problem.headers.message}\n${problem.body}`);
        reject(new Error(`not connected: ${problem.command ?? problem.type} ${problem.body ?? ''}`));
      });
    }),
    'CONNECTED',
  );
  client.onreceipt = (frame) => receipts.push(frame.headers['receipt-id']);
  const receipted = (action) => {
    const receipt = randomUUID();
    action(receipt);
    return receipts.first((id) => id === receipt, `the RECEIPT ${receipt}`);
  };
  const settle = () => receipted((receipt) => client.send('/topic/settled', '', { receipt }));
  return {
    user: connected['user-name'],
    errors,
    closed,
    beats: () => beats,
    async subscribe(destination, headers) {
      const inbox = new Inbox();
      const push = (message) =>
        inbox.push({
          body: message.body,
          headers: message.headers,
          ack: (transaction) => message.ack(transaction ? { transaction } : {}),
          nack: () => message.nack(),
        });
      await receipted((receipt) => client.subscribe(destination, push, { ...headers, receipt }));
      return inbox;
    },
    publish: (destination, body, headers) => receipted((receipt) => client.send(destination, body, { ...headers, receipt })),
    begin() {
      const transaction = client.begin();
      return {
        id: transaction.id,
        publish: (destination, body) => client.send(destination, body, { transaction: transaction.id }),
        commit: async () => (transaction.commit(), settle()),
        abort: async () => (transaction.abort(), settle()),
      };
    },
    settle,
    async leave() {
      client.disconnect();
      await closed;
    },
  };
}

async function stompitClient(t, server, { beat = 0 } = {}) {
  const errors = new Inbox();
  const client = await within(
    5000,
    new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port: server.tcpPort,
        connectHeaders: { host: '/', login: server.login, passcode: server.passcode, 'heart-beat': `${beat},${beat}` },
      };
      stompit.connect(options, (error, connected) => (error ? reject(error) : resolve(connected)));
    }),
    'CONNECTED',
  );
  t.after(() => client.destroy());
  const transport = client.getTransportSocket();
  client.on('error', (error) => errors.push(`${error.message}\n${error.longMessage ?? ''}`));
  const closed = new Promise((resolve) => transport.once('close', resolve));
  // It hands its own error to its socket as well.
  transport.on('error', () => {});
  const receipted = (action) => within(5000, new Promise((onReceipt) => action({ onReceipt })), 'a RECEIPT');
  const settle = () => receipted((options) => client.send('/topic/settled', options).end());
  return {
    user: client.headers['user-name'],
    errors,
    closed,
    // It tells nobody of them, but gives up without them; nothing else comes meanwhile.
    beats: () => transport.bytesRead,
    async subscribe(destination, headers) {
      const inbox = new Inbox();
      client.subscribe({ ...headers, destination }, (error, message) => {
        if (error) return errors.push(error.message);
        const chunks = [];
        message.on('data', (chunk) => chunks.push(chunk));
        message.on('end', () => {
          const octets = Buffer.concat(chunks);
          inbox.push({
            body: octets.toString(),
            octets: new Uint8Array(octets),
            headers: message.headers,
            ack: (transaction) => client.ack(message, transaction ? { transaction } : {}),
            nack: () => client.nack(message),
          });
        });
      });
      await settle();
      return inbox;
    },
    publish: (destination, body, headers) =>
      receipted((options) => {
        // It adds no length by itself.
        const octets = Buffer.from(body);
        const frame = client.send({ ...headers, destination, 'content-length': octets.length }, options);
        // The client's own error says the same.
        frame.on('error', () => {});
        frame.end(octets);
      }),
    begin() {
      const transaction = client.begin();
      return {
        id: transaction.id,
        publish: (destination, body) => transaction.send({ destination }).end(body),
        commit: () => receipted((options) => transaction.commit(options)),
        abort: () => receipted((options) => transaction.abort(options)),
      };
    },
    settle,
    async leave() {
      client.disconnect();
      await closed;
    },
  };
}

/** Waits for `count` more beats. */
export async function beaten(session, count) {
  const from = session.beats();
  await eventually(20_000, `${count} heart-beats, of which ${session.beats() - from} came`, () => session.beats() - from >= count);
}
