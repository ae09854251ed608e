// A STOMP server that says what a test has it say and writes down what it hears, for what a real one does only when things
// go wrong. It answers CONNECT by itself, and nothing else.
import { once } from 'node:events';
import { WebSocketServer } from 'ws';
import { frame } from './stomp-script.mjs';
import { Inbox } from './wait.mjs';

/** One connection. */
class Peer {
  /** Frames that came, `{ command, headers, body }`. */
  heard = new Inbox();

  constructor(socket) {
    this.socket = socket;
    let rest = '';
    socket.on('message', (data) => {
      const parts = (rest + data).split('\0');
      rest = parts.pop();
      for (const part of parts) this.#hear(part.replace(/^\n+/, ''));
    });
    socket.on('error', () => {});
  }

  #hear(text) {
    const end = text.indexOf('\n\n');
    const [command, ...lines] = text.slice(0, end).split('\n');
    const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
    this.heard.push({ command, headers, body: text.slice(end + 2) });
    if (command === 'CONNECT') this.say('CONNECTED', { version: '1.2' });
  }

  /** The `n`th frame of its command, waited for. */
  async frame(command, n = 1) {
    const those = () => this.heard.items.filter((one) => one.command === command);
    await this.heard.first(() => those().length >= n, `${command} number ${n}`);
    return those()[n - 1];
  }

  /** The headers of the `n`th SUBSCRIBE. */
  async subscribed(n = 1) {
    return (await this.frame('SUBSCRIBE', n)).headers;
  }

  say(command, headers, body) {
    this.socket.send(frame(command, headers, body).toString());
  }

  /** A MESSAGE to `subscription`; of an object as body, its JSON. */
  message({ id, destination }, headers, body = '') {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.say('MESSAGE', { subscription: id, destination, 'message-id': this.heard.items.length, ...headers }, text);
  }

  /** Gone without a word. */
  cut() {
    this.socket.terminate();
  }
}

/** Listens until test `t` ends: `{ url, connection }`, the latter giving the `n`th connection, waited for. */
export async function scriptedBroker(t) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'v12.stomp' });
  const peers = new Inbox();
  server.on('connection', (socket) => peers.push(new Peer(socket)));
  await once(server, 'listening');
  t.after(() => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return {
    url: `ws://127.0.0.1:${server.address().port}`,
    connection: async (n = 1) => (await peers.atLeast(n))[n - 1],
  };
}
