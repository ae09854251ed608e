// Frames to a STOMP server, octet by octet as a test has them, and what of the answers is written down: for comparing two
// servers. The cases are in stomp-cases-*.mjs.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { WebSocket } from 'ws';
import { within } from './wait.mjs';

/** In milliseconds, for an answer that should come at once; where none comes in time, that is written down. */
const ANSWER = 15_000;
/** Where RabbitMQ is known to say nothing. */
export const SILENCE = 4000;
const ESCAPES = { '1.0': {}, 1.1: { '\\n': '\n', '\\c': ':', '\\\\': '\\' }, 1.2: { '\\n': '\n', '\\c': ':', '\\\\': '\\', '\\r': '\r' } };
export const VERSIONS = Object.keys(ESCAPES).sort();
/** Where ids are, which each server makes as it likes. */
const IDS = new Set(['message-id', 'ack', 'session', 'server']);

/** The octets of a frame. Headers are written as they are, unescaped; an array in place of an object has repeated ones. */
export function frame(command, headers = {}, body = '') {
  const pairs = Array.isArray(headers) ? headers : Object.entries(headers);
  const head = [command, ...pairs.filter(([, value]) => value !== undefined).map(([name, value]) => `${name}:${value}`), '', ''].join('\n');
  return Buffer.concat([Buffer.from(head), Buffer.from(body), Buffer.from([0])]);
}

/** A frame that came. */
class Answer {
  constructor(command, lines, body, version) {
    this.command = command;
    this.headers = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]);
    this.body = body;
    this.version = version;
  }

  /** The value of a header, unescaped. */
  header(name) {
    const value = this.headers.find(([found]) => found === name)?.[1];
    return value?.replace(/\\./g, (escape) => ESCAPES[this.version][escape] ?? escape);
  }

  get text() {
    return this.body.toString();
  }
}

/** One connection. `over` is how octets come and go. */
class Peer {
  #side;
  #wire;
  #octets = Buffer.alloc(0);
  #frames = [];
  #ended = false;
  #wake = () => {};
  #probes = 0;
  version;
  patience = ANSWER;

  constructor(side, wire, version) {
    this.#side = side;
    this.#wire = wire;
    this.version = version;
    wire.received = (chunk) => {
      this.#octets = Buffer.concat([this.#octets, chunk]);
      for (let found; (found = this.#parse()); ) this.#frames.push(found);
      this.#wake();
    };
    wire.finished = () => {
      this.#ended = true;
      this.#wake();
    };
  }

  send(command, headers, body) {
    this.#wire.write(frame(command, headers, body));
    return this;
  }

  raw(octets) {
    this.#wire.write(Buffer.from(octets));
    return this;
  }

  /** Goes without a word. */
  vanish() {
    this.#wire.destroy();
  }

  /** Goes with a word: when this is done, whatever it had not acknowledged is back. */
  async leave() {
    this.send('DISCONNECT', { receipt: 'leave' });
    const left = ({ headers }) => headers.some(([, value]) => value === 'leave');
    await this.#until(() => this.#frames.some(left));
    assert.ok(this.#frames.some(left), 'a RECEIPT of DISCONNECT');
    this.#frames = [];
    this.end();
    await this.#until(() => this.#ended);
  }

  /** Says that no more will be sent. */
  end() {
    this.#wire.end();
  }

  /**
   * Waits for frames of these commands, each in its own order, and writes them down as `step` (or `step #1`, `step #2` …).
   * An ERROR or the end in their place is written down too, and ends the case on this side.
   */
  async expect(step, ...commands) {
    const { taken, complete } = await this.#take(commands);
    const shown = taken.map((answer) => this.#side.show(answer));
    if (!complete && shown.length < commands.length) shown.push({ command: this.#ended ? 'end' : 'nothing' });
    shown.forEach((value, i) => this.#side.note(commands.length === 1 && i === 0 ? step : `${step} #${i + 1}`, value));
    if (!complete) throw new CaseEnded(step);
    return commands.length === 1 ? taken[0] : taken;
  }

  /** As `expect`, but nothing is written down, and anything else is a failure. */
  async get(...commands) {
    const { taken, complete } = await this.#take(commands);
    const came = () => `${taken.map(({ command, text, headers }) => `${command} ${JSON.stringify(headers)} ${text}`).join('; ')}${this.#ended ? ', then the end' : ''}`;
    assert.ok(complete, `wanted ${commands.join(', ')}; came: ${came()}`);
    return commands.length === 1 ? taken[0] : taken;
  }

  /** Writes down how the frame that was sent last, with a receipt, is answered, and whether the connection outlives it. */
  async verdict(step) {
    const settled = () => this.#frames.some(({ command }) => command === 'ERROR' || command === 'RECEIPT' || command === 'CONNECTED');
    await this.#until(() => settled() || this.#ended);
    const at = this.#frames.findIndex(({ command }) => command !== 'MESSAGE');
    const [answer] = at >= 0 ? this.#frames.splice(at, 1) : [];
    this.#side.note(step, answer ? this.#side.show(answer) : { command: this.#ended ? 'end' : 'nothing' });
    if (answer?.command === 'ERROR') this.#side.note(`${step}, then`, await this.state());
    return answer;
  }

  /** Writes down the ERROR that comes, be it after a RECEIPT, and whether the connection outlives it. */
  async refusal(step) {
    const refused = ({ command }) => command === 'ERROR';
    await this.#until(() => this.#frames.some(refused) || this.#ended);
    const answer = this.#frames.find(refused);
    this.#frames = this.#frames.filter(({ command }) => command === 'MESSAGE');
    this.#side.note(step, answer ? this.#side.show(answer) : { command: this.#ended ? 'end' : 'no ERROR' });
    if (answer) this.#side.note(`${step}, then`, await this.state());
  }

  /** `open` if a session goes on, `end` if it was closed. */
  async state() {
    const from = this.#frames.length;
    this.#probes += 1;
    const receipt = `probe-${this.#probes}`;
    const answered = ({ command, headers }) =>
      command === 'CONNECTED' || (command === 'RECEIPT' && headers.some(([, value]) => value === receipt));
    if (!this.#ended) {
      if (this.version) this.send('BEGIN', { transaction: receipt, receipt });
      else this.send('CONNECT', { 'accept-version': '1.2', host: '/' });
    }
    await this.#until(() => this.#ended || this.#frames.some(answered));
    const state = this.#frames.some(answered) ? 'open' : this.#ended ? 'end' : 'silent';
    this.#frames.splice(from);
    return state;
  }

  /** Waits for the end. */
  async gone(step) {
    await this.#until(() => this.#ended);
    this.#side.note(step, this.#ended ? 'end' : 'open');
  }

  /** What has come and was not waited for. */
  get rest() {
    return this.#frames.filter(({ command }) => command !== 'RECEIPT').map(({ command, text }) => `${command} ${text}`.trimEnd());
  }

  async #take(commands) {
    const wanted = new Map();
    for (const command of commands) wanted.set(command, (wanted.get(command) ?? 0) + 1);
    const count = (command) => this.#frames.filter((found) => found.command === command).length;
    const all = () => [...wanted].every(([command, n]) => count(command) >= n);
    const failed = () => !wanted.has('ERROR') && count('ERROR') > 0;
    await this.#until(() => all() || failed() || this.#ended);
    if (!all()) return { taken: this.#frames.splice(0), complete: false };
    const taken = commands.map((command) => {
      const at = this.#frames.findIndex((found) => found.command === command);
      return this.#frames.splice(at, 1)[0];
    });
    return { taken, complete: true };
  }

  /** Waits until `condition`, or for as long as it has patience. */
  async #until(condition) {
    const reached = new Promise((resolve) => {
      this.#wake = () => condition() && resolve();
      this.#wake();
    });
    await within(this.patience, reached, 'an answer').catch(() => {});
    this.#wake = () => {};
  }

  #parse() {
    let from = 0;
    while (this.#octets[from] === 10 || this.#octets[from] === 13) from += 1;
    this.#octets = this.#octets.subarray(from);
    const end = this.#octets.indexOf('\n\n');
    if (end < 0) return undefined;
    const [command, ...lines] = this.#octets.subarray(0, end).toString().split('\n');
    const length = lines.find((line) => line.startsWith('content-length:'))?.slice('content-length:'.length);
    const last = length === undefined ? this.#octets.indexOf(0, end + 2) : end + 2 + Number(length);
    if (last < 0 || this.#octets.length <= last) return undefined;
    assert.equal(this.#octets[last], 0, `a frame that does not end with NUL: ${command} ${lines.join(' ')}`);
    const body = Buffer.from(this.#octets.subarray(end + 2, last));
    this.#octets = this.#octets.subarray(last + 1);
    return new Answer(command, lines, body, this.version ?? '1.2');
  }
}

/** Says that a case can't go on; what happened is written down. */
export class CaseEnded extends Error {}

/** One of the two servers, as one case of the script sees it; writes down what it answers. */
export class Side {
  seen = new Map();
  #peers = [];

  /** `open` connects: `async () => wire`. `id` is part of all names, so that cases do not meet. */
  constructor(open, id) {
    this.open = open;
    this.id = id;
  }

  note(step, value) {
    assert.ok(!this.seen.has(step), `two steps of one name: ${step}`);
    this.seen.set(step, value);
  }

  queue = (name) => `/queue/${this.id}-${name}`;
  topic = (name) => `/topic/${this.id}-${name}`;

  /** A connection on which nothing was said. */
  async reach(version) {
    const peer = new Peer(this, await this.open(), version);
    this.#peers.push(peer);
    return peer;
  }

  /** A session. */
  async connect(version = '1.2', headers = {}) {
    const peer = await this.reach(version);
    peer.send('CONNECT', { 'accept-version': version, host: '/', ...headers });
    await peer.get('CONNECTED');
    return peer;
  }

  /** A session with a subscription, whose receipt has come. */
  async subscriber(destination, headers = {}, version = '1.2') {
    const peer = await this.connect(version);
    peer.send('SUBSCRIBE', { id: '0', destination, receipt: 'subscribed', ...headers });
    await peer.get('RECEIPT');
    return peer;
  }

  /** Sends bodies to a destination, and has their receipts. */
  async fill(destination, ...bodies) {
    const peer = await this.connect();
    for (const body of bodies) {
      peer.send('SEND', { destination, receipt: body }, body);
      await peer.get('RECEIPT');
    }
    peer.vanish();
  }

  /** What is compared of a frame: each header as it is on the wire, ids and this side's names made alike. */
  show({ command, headers, body }) {
    if (command === 'ERROR') return this.#error(headers, body);
    const shown = { command, body: readable(body) };
    for (const [name, value] of headers) {
      const key = shown[name] === undefined ? name : `${name} (again)`;
      if (command === 'CONNECTED' && name === 'heart-beat') shown[key] = /^\d+,\d+$/.test(value) ? value : `odd: ${value}`;
      else shown[key] = IDS.has(name) ? (value ? '<id>' : 'empty') : this.#alike(value);
    }
    return shown;
  }

  /** Texts are each server's own. */
  #error(headers, body) {
    const shown = { command: 'ERROR', body: body.length ? '<text>' : 'none' };
    for (const [name, value] of headers) {
      if (name === 'content-length') continue;
      shown[name] = name === 'message' ? (value ? '<text>' : 'empty') : this.#alike(value);
    }
    return shown;
  }

  #alike(value) {
    // A name that the server made for a temporary queue is as good as any.
    return value.replaceAll(this.id, '~').replace(/^\/(?:reply-queue|queue)\/[\w.-]{20,}(?:\/replies)?$/, '<temporary queue>');
  }

  /** Runs a case, which may end early, and writes down what it left unread. */
  async run(steps) {
    try {
      await steps(this);
      this.note('left over', this.#peers.flatMap(({ rest }) => rest));
    } catch (error) {
      if (!(error instanceof CaseEnded)) throw error;
    }
  }

  done() {
    for (const peer of this.#peers) peer.vanish();
  }
}

function readable(body) {
  const text = body.toString();
  const shown = Buffer.from(text).equals(body) ? text : `hex ${body.toString('hex')}`;
  return shown.length > 200 ? `${shown.slice(0, 80)}… (${body.length} octets)` : shown;
}

/** Over TCP. */
export async function tcp(port) {
  const socket = connectTcp(port, '127.0.0.1');
  const wire = {
    write: (octets) => socket.writable && socket.write(octets),
    end: () => socket.end(),
    destroy: () => socket.destroy(),
  };
  socket.on('data', (chunk) => wire.received?.(chunk));
  for (const event of ['end', 'close']) socket.on(event, () => wire.finished?.());
  await once(socket, 'connect');
  socket.on('error', () => {});
  return wire;
}

/** Over a raw WebSocket, whose messages are strung together. */
export async function websocket(url) {
  const socket = new WebSocket(url);
  const open = () => socket.readyState === WebSocket.OPEN;
  const wire = {
    write: (octets) => open() && socket.send(octets),
    end: () => socket.close(),
    destroy: () => socket.terminate(),
  };
  socket.on('message', (data) => wire.received?.(data));
  socket.on('close', () => wire.finished?.());
  await once(socket, 'open');
  socket.on('error', () => {});
  return wire;
}
