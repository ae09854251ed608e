// HTTP/1.0, HTTP/1.1 and WebSocket by hand over a socket, so that a test sees what went over the wire: responses as
// they grow, chunking checked and taken off, frames one by one.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { within } from './wait.mjs';

const LIMIT = 10_000;
const HEAD_END = '\r\n\r\n';
const BODYLESS = new Set([101, 204, 304]);

/** Octets as text if they are UTF-8, else as they can be read without loss. */
export function readable(octets) {
  const text = octets.toString('utf8');
  return Buffer.from(text, 'utf8').equals(octets) ? text : `base64:${octets.toString('base64')}`;
}

/** One connection. Requests may be sent before earlier ones are answered; answers come in their order. */
export class Connection {
  #rest = Buffer.alloc(0);
  #asked = [];
  #current;
  #checks = new Set();
  /** What broke the rules of HTTP, if anything did. */
  #fault;
  ended = false;

  static async open(port) {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    await within(LIMIT, once(socket, 'connect'), `a connection to port ${port}`);
    return new Connection(socket);
  }

  constructor(socket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.#rest = Buffer.concat([this.#rest, data]);
      this.#changed();
    });
    // A reset is an end too; what was missing then shows in what came.
    socket.on('error', () => {});
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.ended = true;
        this.#changed();
      });
    }
  }

  /** Sends a request; resolves to its Response when the head is there. `headers` are `[name, value]` pairs or an object. */
  ask(method, path, { version = '1.1', headers = {}, body, host = 'server.example' } = {}) {
    const fields = [...(host ? [['Host', host]] : []), ...(Array.isArray(headers) ? headers : Object.entries(headers))];
    if (body !== undefined) fields.push(['Content-Length', Buffer.byteLength(body)]);
    const head = [`${method} ${path} HTTP/${version}`, ...fields.map(([name, value]) => `${name}: ${value}`)].join('\r\n');
    const asked = { method, response: undefined };
    this.#asked.push(asked);
    this.socket.write(Buffer.concat([Buffer.from(head + HEAD_END, 'latin1'), Buffer.from(body ?? '')]));
    return this.when(() => asked.response, `the head of the answer to ${method} ${path}`);
  }

  /** Waits until `look` gives something other than undefined; fails when the connection ends before. */
  when(look, what, milliseconds = LIMIT) {
    let check;
    const found = new Promise((resolve, reject) => {
      check = () => {
        try {
          if (this.#fault) throw this.#fault;
          const value = look();
          if (value !== undefined) resolve(value);
          else if (this.ended) reject(new Error(`the connection ended before ${what}; not yet read: ${readable(this.#rest)}`));
        } catch (error) {
          reject(error);
        }
      };
      this.#checks.add(check);
      check();
    });
    return within(milliseconds, found, what).finally(() => this.#checks.delete(check));
  }

  /** Takes octets that no response has claimed; for what follows a 101. */
  take(count) {
    if (this.#rest.length < count) return undefined;
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }

  peek() {
    return this.#rest;
  }

  /** Whether the server closes in time, with nothing more to say. */
  async closes() {
    await this.when(() => (this.ended ? true : undefined), 'the server to close the connection');
    return this.#rest.length === 0;
  }

  abort() {
    this.socket.destroy();
  }

  #changed() {
    try {
      while (this.#advance());
    } catch (error) {
      this.#fault ??= error;
    }
    for (const check of this.#checks) check();
  }

  /** Reads what can be read; whether there may be more. */
  #advance() {
    if (this.#current) {
      if (!this.#current.complete) this.#rest = this.#current.read(this.#rest, this.ended);
      if (!this.#current.complete) return false;
      this.#current = undefined;
    }
    const next = this.#asked.find(({ response }) => !response);
    const end = this.#rest.indexOf(HEAD_END);
    if (!next || end < 0) return false;
    this.#current = next.response = new Response(this, next.method, this.#rest.subarray(0, end).toString('latin1'));
    this.#rest = this.#rest.subarray(end + HEAD_END.length);
    return true;
  }
}

/** An answer, whose body grows. */
export class Response {
  body = Buffer.alloc(0);
  complete = false;
  #chunk = 0;

  constructor(connection, method, head) {
    this.connection = connection;
    const [line, ...fields] = head.split('\r\n');
    const [, version, status] = /^HTTP\/(1\.[01]) (\d{3})(?: |$)/.exec(line) ?? [];
    if (!status) throw new Error(`no status line: ${line}`);
    this.version = version;
    this.status = Number(status);
    this.headers = new Map();
    for (const field of fields) {
      const [, name, value] = /^([!-9;-~]+):[ \t]*(.*?)[ \t]*$/.exec(field) ?? [];
      if (!name) throw new Error(`no header: ${field}`);
      const key = name.toLowerCase();
      this.headers.set(key, [...(this.headers.get(key) ?? []), value]);
    }
    const length = this.header('content-length');
    if (method === 'HEAD' || BODYLESS.has(this.status)) {
      this.framing = 'no body';
      this.complete = true;
    } else if (this.header('transfer-encoding')) this.framing = 'chunked';
    else if (length !== undefined) {
      this.framing = 'length';
      this.#chunk = Number(length);
    } else this.framing = 'until the end';
  }

  header(name) {
    return this.headers.get(name)?.join(', ');
  }

  get text() {
    return readable(this.body);
  }

  /** Whether another request may follow on this connection, as the answer says it. */
  get keepsAlive() {
    const said = (this.header('connection') ?? '').toLowerCase();
    return this.version === '1.1' ? !said.includes('close') : said.includes('keep-alive');
  }

  /** Waits until the body holds `part`, a text or a number of octets. */
  async until(part) {
    const holds = typeof part === 'number' ? () => this.body.length >= part : () => this.body.includes(part);
    await this.#when(holds, `the body to hold ${JSON.stringify(part)}`);
    return this;
  }

  /** Waits until the answer is whole. */
  async whole() {
    await this.#when(() => this.complete, 'the end of the answer');
    return this;
  }

  #when(holds, what) {
    const look = () => {
      if (holds()) return true;
      if (this.complete) throw new Error(`the answer ended before ${what}; its body: ${this.text.slice(-300)}`);
      return undefined;
    };
    return this.connection.when(look, what).catch((error) => {
      error.message += `\n  answer: ${this.status}, body (end of ${this.body.length}): ${this.text.slice(-300)}`;
      throw error;
    });
  }

  /** Takes what is its own of `octets` and gives back the rest. */
  read(octets, ended) {
    if (this.framing === 'until the end') {
      this.body = Buffer.concat([this.body, octets]);
      this.complete = ended;
      return Buffer.alloc(0);
    }
    if (this.framing === 'length') {
      const missing = this.#chunk - this.body.length;
      this.body = Buffer.concat([this.body, octets.subarray(0, missing)]);
      this.complete = this.body.length === this.#chunk;
      return octets.subarray(missing);
    }
    for (;;) {
      const end = octets.indexOf('\r\n');
      if (end < 0) return octets;
      const size = octets.subarray(0, end).toString('latin1');
      if (!/^[0-9a-fA-F]+$/.test(size)) throw new Error(`no chunk size: ${JSON.stringify(size)}`);
      const length = Number.parseInt(size, 16);
      const whole = end + 2 + length + 2;
      if (octets.length < whole) return octets;
      if (octets.subarray(whole - 2, whole).toString() !== '\r\n') throw new Error('a chunk without its end');
      this.body = Buffer.concat([this.body, octets.subarray(end + 2, end + 2 + length)]);
      octets = octets.subarray(whole);
      if (length === 0) {
        this.complete = true;
        return octets;
      }
    }
  }
}

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const NAMES = { [TEXT]: 'text', [BINARY]: 'binary', [CLOSE]: 'close', [PING]: 'ping', [PONG]: 'pong' };

/** The headers of a handshake. */
export const UPGRADE = {
  Upgrade: 'websocket',
  Connection: 'Upgrade',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};
/** What `UPGRADE`'s key is answered with (RFC 6455, section 4.2.2). */
export const ACCEPT = createHash('sha1').update(`${UPGRADE['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

/** Frames after a 101. */
export class Frames {
  constructor(connection) {
    this.connection = connection;
  }

  text(payload) {
    this.#send(TEXT, Buffer.from(payload));
  }

  binary(payload) {
    this.#send(BINARY, payload);
  }

  close(code, reason = '') {
    this.#send(CLOSE, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));
  }

  /** The next frame as one line: `text o`, `close 1000 reason`. Beyond the last one, `end`. */
  async next() {
    const { connection } = this;
    return connection.when(() => {
      const frame = this.#parse();
      return frame ?? (connection.ended ? 'end' : undefined);
    }, 'a frame');
  }

  /** All frames up to the end, which the server is left to make; a close frame is answered in kind. */
  async rest() {
    const frames = [];
    for (;;) {
      const frame = await this.next();
      frames.push(frame);
      if (frame === 'end') return frames;
      if (frame.startsWith('close')) {
        const [, code] = /^close (\d+)/.exec(frame) ?? [];
        this.close(Number(code ?? 1000));
      }
    }
  }

  #send(opcode, payload) {
    const mask = randomBytes(4);
    const size = payload.length < 126 ? [0x80 | payload.length] : [0x80 | 126, payload.length >> 8, payload.length & 255];
    const masked = payload.map((octet, i) => octet ^ mask[i % 4]);
    this.connection.socket.write(Buffer.concat([Buffer.from([0x80 | opcode, ...size]), mask, Buffer.from(masked)]));
  }

  #parse() {
    const seen = this.connection.peek();
    if (seen.length < 2) return undefined;
    let length = seen[1] & 127;
    let at = 2;
    if (length === 126) {
      if (seen.length < 4) return undefined;
      length = seen.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (seen.length < 10) return undefined;
      length = Number(seen.readBigUInt64BE(2));
      at = 10;
    }
    const frame = this.connection.take(at + length);
    if (!frame) return undefined;
    const payload = frame.subarray(at);
    if (!(frame[0] & 0x80) || frame[0] & 0x70 || frame[1] & 0x80) return `odd ${frame.subarray(0, at).toString('hex')}`;
    const name = NAMES[frame[0] & 15] ?? `opcode-${frame[0] & 15}`;
    if (name !== 'close') return `${name} ${readable(payload)}`.trimEnd();
    return payload.length < 2 ? 'close' : `close ${payload.readUInt16BE(0)} ${readable(payload.subarray(2))}`.trimEnd();
  }
}
