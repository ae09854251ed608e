// stomp.js over one transport of sockjs-client, or over whichever works. Runs unchanged in Node and in a browser, which
// bring `SockJS` and `Client` each their own way; what its methods take and give can go through a browser's protocol.
import { Inbox, within } from './wait.mjs';

const PATIENCE = 30_000;

export class Carried {
  /** Bodies of messages, in order of arrival. */
  inbox = new Inbox();
  errors = new Inbox();
  closes = new Inbox();
  connects = new Inbox();
  #receipts = 0;

  /** `options` are those of sockjs-client. */
  constructor(SockJS, Client, url, options) {
    this.client = new Client({
      webSocketFactory: () => new SockJS(`${url}/ws`, null, options),
      reconnectDelay: 100,
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
      onConnect: () => this.connects.push(this.client.webSocket.transport),
      onStompError: ({ headers, body }) => this.errors.push(`${headers.message}\n${body}`),
      onWebSocketClose: ({ code, reason, wasClean }) => this.closes.push({ code, reason, wasClean }),
    });
  }

  /** Connects; gives the transport in use. An end before that is a failure. */
  async connect() {
    this.client.activate();
    const closed = this.closes.atLeast(1, PATIENCE).then(([close]) => {
      throw new Error(`closed before CONNECTED: ${JSON.stringify(close)}`);
    });
    closed.catch(() => {});
    return Promise.race([this.connected(1), closed]);
  }

  /** The transport in use at the `n`th connect, waited for. */
  async connected(n) {
    const transports = await this.connects.atLeast(n, PATIENCE);
    return transports[n - 1];
  }

  async subscribe(destination) {
    await this.#receipted((receipt) => this.client.subscribe(destination, ({ body }) => this.inbox.push(body), { receipt }));
  }

  /** Publishes all, and waits for the receipt of the last. */
  async publish(destination, bodies) {
    for (const body of bodies.slice(0, -1)) this.client.publish({ destination, body });
    await this.#receipted((receipt) => this.client.publish({ destination, body: bodies.at(-1), headers: { receipt } }));
  }

  /** The first `n` bodies, once they are there. */
  async bodies(n) {
    return (await this.inbox.atLeast(n, PATIENCE)).slice(0, n);
  }

  /** Sends what the server answers with an ERROR, and waits for that and for the end. */
  async misbehave(destination) {
    this.client.publish({ destination: `${destination}.*`, body: 'x' });
    const [error] = await this.errors.atLeast(1, PATIENCE);
    const [close] = await this.closes.atLeast(1, PATIENCE);
    return { error, close };
  }

  async leave() {
    await within(PATIENCE, this.client.deactivate(), 'the client to disconnect');
    return { closes: this.closes.items, errors: this.errors.items };
  }

  /** Without a word to the server. */
  async vanish() {
    await this.client.deactivate({ force: true });
  }

  #receipted(action) {
    const receipt = `receipt-${(this.#receipts += 1)}`;
    const received = new Promise((resolve) => this.client.watchForReceipt(receipt, () => resolve()));
    action(receipt);
    return within(PATIENCE, received, `the RECEIPT ${receipt}`);
  }
}
