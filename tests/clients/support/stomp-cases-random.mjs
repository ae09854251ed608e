// Queues in long scripts by chance, the same on both sides: one consumer at a time, so that all that comes is certain. What is
// kept here is how much must come next; what it is, and in which order, is compared.
import { key } from './stomp-cases-acks.mjs';

export const cases = {};

/** How many scripts; more of them for a longer search. */
const SEEDS = Number(process.env.SEEDS ?? 24);
const STEPS = 40;
const VERSION = '1.2';

/** Numbers that follow from a seed (mulberry32). */
function random(seed) {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}

class Script {
  #ready = 0;
  #held = [];
  #sent = 0;
  #steps = 0;
  #transactions = 0;

  constructor(side, seed) {
    this.side = side;
    this.pick = random(seed);
    this.queue = side.queue('q');
  }

  async run() {
    this.writer = await this.side.connect();
    await this.consume();
    const steps = [this.send, this.send, this.send, this.ack, this.ack, this.nack, this.transaction, this.consume];
    for (let i = 0; i < STEPS; i += 1) await steps[this.pick(steps.length)].call(this);
    await this.peer.leave();
    this.#ready += this.#held.length;
    this.mode = 'auto';
    this.peer = await this.side.subscriber(this.queue);
    await this.settle('all that is left');
  }

  /** All that can be delivered now, written down. */
  async settle(step) {
    const room = this.mode === 'auto' || !this.prefetch ? Infinity : this.prefetch - this.#held.length;
    const due = Math.min(this.#ready, room);
    const came = due > 0 ? [await this.peer.get(...Array(due).fill('MESSAGE'))].flat() : [];
    this.#ready -= came.length;
    if (this.mode !== 'auto') this.#held.push(...came);
    this.#steps += 1;
    this.side.note(`${this.#steps}: ${step}`, came.map((message) => `${message.text}${message.header('redelivered') === 'true' ? ' again' : ''}`));
  }

  async receipted(peer, command, headers, body) {
    peer.send(command, { ...headers, receipt: 'r' }, body);
    await peer.get('RECEIPT');
  }

  async send() {
    for (let count = 1 + this.pick(3); count > 0; count -= 1) {
      await this.receipted(this.writer, 'SEND', { destination: this.queue }, this.body());
      this.#ready += 1;
    }
    await this.settle('send');
  }

  body() {
    this.#sent += 1;
    return `${this.#sent}`;
  }

  /** One of the messages that wait for an ACK, and what goes with it, taken from them. */
  take() {
    const at = this.pick(this.#held.length);
    const message = this.#held[at];
    return { message, taken: this.mode === 'client' ? this.#held.splice(0, at + 1) : this.#held.splice(at, 1) };
  }

  async ack() {
    if (!this.#held.length) return;
    await this.receipted(this.peer, 'ACK', key(this.take().message, VERSION));
    await this.settle('ack');
  }

  async nack() {
    if (!this.#held.length) return;
    const { message, taken } = this.take();
    await this.receipted(this.peer, 'NACK', key(message, VERSION));
    this.#ready += taken.length;
    await this.settle('nack');
  }

  async transaction() {
    const transaction = `tx-${(this.#transactions += 1)}`;
    const commits = this.pick(3) > 0;
    const before = [...this.#held];
    this.peer.send('BEGIN', { transaction });
    let sent = 0;
    for (let count = 1 + this.pick(4); count > 0; count -= 1) {
      if (this.#held.length && this.pick(2)) this.peer.send('ACK', { ...key(this.take().message, VERSION), transaction });
      else {
        // RabbitMQ's RECEIPT of a COMMIT may come before the messages are in the queue, that of a SEND does not.
        this.peer.send('SEND', { destination: this.queue, transaction, receipt: commits ? 'sent' : undefined }, this.body());
        sent += 1;
      }
    }
    await this.receipted(this.peer, commits ? 'COMMIT' : 'ABORT', { transaction });
    if (commits) {
      if (sent) await this.peer.get(...Array(sent).fill('RECEIPT'));
      this.#ready += sent;
    } else this.#held = before;
    await this.settle(commits ? 'commit' : 'abort');
  }

  /** Another consumer in place of the one that is there. */
  async consume() {
    await this.peer?.leave();
    this.#ready += this.#held.length;
    this.#held = [];
    this.mode = ['client', 'client-individual', 'client-individual', 'auto'][this.pick(4)];
    this.prefetch = this.pick(5);
    this.peer = await this.side.subscriber(this.queue, { ack: this.mode, 'prefetch-count': this.prefetch || undefined });
    await this.settle(`consume with ack:${this.mode}, prefetch-count:${this.prefetch}`);
  }
}

for (let seed = 1; seed <= SEEDS; seed += 1) {
  cases[`queue by chance, ${seed}`] = (side) => new Script(side, seed).run();
}
