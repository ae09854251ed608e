// What is asked of a SockJS server, case by case, and what of its answers is written down: for comparing two servers, which are
// those of sockjs-servers.mjs.
import assert from 'node:assert/strict';
import { RESPONSE_LIMIT, SOCKJS_URL } from './sockjs-servers.mjs';
import { eventually } from './wait.mjs';
import { ACCEPT, Connection, Frames, UPGRADE } from './wire.mjs';

/** In seconds: how long some answers may be kept. */
export const YEAR = 365 * 24 * 60 * 60;

/** Headers that clients, browsers and proxies act on. The rest (Date, Keep-Alive, Server …) is a server's own affair. */
const HEADERS = [
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'access-control-max-age',
  'allow',
  'cache-control',
  'content-encoding',
  'content-type',
  'last-modified',
  'location',
  'pragma',
  'sec-websocket-accept',
  'sec-websocket-extensions',
  'sec-websocket-protocol',
  'set-cookie',
  'upgrade',
  'vary',
  'x-accel-buffering',
  'x-content-type-options',
];

function show(response) {
  const shown = { request: response.request, status: response.status, body: response.text };
  for (const name of HEADERS) if (response.header(name) !== undefined) shown[name] = response.header(name);
  // In whatever order.
  if (shown.allow) shown.allow = shown.allow.split(', ').sort().join(', ');
  if (response.header('etag') !== undefined) shown.etag = /^"[^"]+"$/.test(response.header('etag')) ? 'strong' : response.header('etag');
  const expires = response.header('expires');
  if (expires !== undefined) {
    const off = Math.abs(Date.parse(expires) - (Date.now() + YEAR * 1000));
    shown.expires = off < 60_000 && expires.endsWith(' GMT') ? 'in a year' : expires;
  }
  if (response.framing === 'no body' && response.header('transfer-encoding')) shown['transfer-encoding'] = 'without a body';
  return shown;
}

/** One of the two servers, as one case of the script sees it; writes down what it answers. */
export class Side {
  seen = new Map();
  #connections = [];
  #sessions = 0;

  constructor(port, id) {
    this.port = port;
    this.id = id;
  }

  note(step, value) {
    assert.ok(!this.seen.has(step), `two steps of one name: ${step}`);
    this.seen.set(step, value);
  }

  /** The path of a new session below `service`. */
  session(service = '/echo') {
    this.#sessions += 1;
    return `${service}/000/${this.id}-${this.#sessions}`;
  }

  async connect() {
    const connection = await Connection.open(this.port);
    this.#connections.push(connection);
    return connection;
  }

  /** Begins a request on a connection of its own, and gives its answer, which may still grow. */
  async begin(request, options = {}) {
    const [method, path] = request.split(' ');
    const response = await (options.on ?? (await this.connect())).ask(method, path, options);
    response.request = request.replaceAll(this.id, '…');
    return response;
  }

  /** A request and its whole answer, not written down. */
  async fetch(request, options) {
    return (await this.begin(request, options)).whole();
  }

  /** A request and its whole answer, written down under the name `step`. */
  async ask(step, request, options) {
    const response = await this.fetch(request, options);
    this.note(step, show(response));
    return response;
  }

  /** Writes down an answer once it is whole, also how its end was told. */
  async end(step, response) {
    await response.whole();
    this.note(step, { ...show(response), framing: response.framing === 'length' ? 'chunked' : response.framing });
    return response;
  }

  async frames(request, headers = UPGRADE) {
    const response = await this.begin(request, { headers });
    assert.equal(response.status, 101, response.text);
    return new Frames(response.connection);
  }

  done() {
    for (const connection of this.#connections) connection.abort();
  }
}

const quoted = JSON.stringify;
/** For each transport that streams: how it is opened, and what a frame is on the wire. */
export const STREAMS = {
  xhr_streaming: { open: (session) => `POST ${session}/xhr_streaming`, frame: (text) => `${text}\n`, prelude: `${'h'.repeat(2048)}\n` },
  eventsource: { open: (session) => `GET ${session}/eventsource`, frame: (text) => `data: ${text}\r\n\r\n`, prelude: '\r\n' },
  htmlfile: {
    open: (session) => `GET ${session}/htmlfile?c=cb`,
    frame: (text) => `<script>\np(${quoted(text)});\n</script>\r\n`,
  },
};
const POLLS = {
  xhr: { open: (session) => `POST ${session}/xhr`, frame: (text) => `${text}\n` },
  jsonp: { open: (session) => `GET ${session}/jsonp?c=cb`, frame: (text) => `/**/cb(${quoted(text)});\r\n` },
};
const TRANSPORTS = { ...POLLS, ...STREAMS };
const array = (...messages) => `a[${messages.map(quoted).join(',')}]`;
const CORS = { Origin: 'http://page.example', 'Access-Control-Request-Headers': 'a, b, c' };

const send = (s, session, body, options) => s.fetch(`POST ${session}/xhr_send`, { body, ...options });
/** Opens a session by polling, so that it is there. */
async function opened(s, service, headers = {}) {
  const session = s.session(service);
  const response = await s.fetch(`POST ${session}/xhr`, { headers });
  assert.equal(response.text, 'o\n');
  return session;
}

/** The script. Each case is run with a `Side`, and writes down what it sees. */
export const cases = {
  async 'the greeting'(s) {
    await s.ask('bare', 'GET /echo');
    await s.ask('slash', 'GET /echo/');
    await s.ask('slash and query', 'GET /echo/?a=b');
    await s.ask('query', 'GET /echo?a=b');
    for (const service of ['/close', '/disabled_websocket_echo', '/cookie_needed_echo']) await s.ask(service, `GET ${service}`);
    await s.ask('with an origin', 'GET /echo', { headers: CORS });
  },

  async 'paths that are not found'(s) {
    for (const path of [
      '/echo//',
      '/echo/a',
      '/echo/a/',
      '/echo/a/b',
      '/echo/a/b/',
      '/echo.html',
      '/echo/a/a',
      '/echoes',
      '/ech',
      '/',
      '/echo/infos',
      '/echo/a/b/c/xhr',
      '/echo/a/b/xhr//',
      '/echo/a/b/unknown',
      '/echo/a/b/XHR',
      '/echo/a/b/xhr_poll',
      '/echo/a/b/xhr_',
      '/echo/a//b/xhr',
      '//echo/a/b/xhr',
      '/echo//a/b/xhr',
      '/echo//b/xhr',
      '/echo/a//xhr',
      '/echo///xhr',
      '/echo/a.b/c/xhr',
      '/echo/a/b.c/xhr',
      '/echo/./b/xhr',
      '/echo/../b/xhr',
      '/echo/a/../xhr',
      '/echo/a/.b/xhr',
      '/echo/a/b./xhr',
    ]) {
      await s.ask(`GET ${path}`, `GET ${path}`);
      await s.ask(`POST ${path}`, `POST ${path}`);
    }
    await s.ask('an encoded dot', `POST /echo/a/${s.id}%2Ec/xhr`);
    await s.ask('an encoded dot in the name of a server', `POST /echo/a%2ec/${s.id}/xhr`);
    await s.ask('chunking_test, which no client of today asks for', 'OPTIONS /echo/chunking_test');
  },

  async 'paths that are found'(s) {
    for (const [step, session] of Object.entries({
      plain: s.session(),
      'odd characters': `/echo/a!$&'()*+,;=:@-_~/${s.id}!$&'()*+,;=:@-_~`,
      'percent-encoded': `/echo/%20%C3%A4/${s.id}%20%C3%A4%2F`,
      'long names': `/echo/${'s'.repeat(200)}/${s.id}${'l'.repeat(500)}`,
    })) {
      await s.ask(`${step}: opens`, `POST ${session}/xhr`);
      await s.ask(`${step}: takes`, `POST ${session}/xhr_send/`, { body: '["x"]' });
      await s.ask(`${step}: gives`, `POST ${session}/xhr/?t=1`);
    }
    const session = s.session();
    await s.ask('one server', `POST ${session}/xhr`);
    await s.ask('another server: takes', `POST ${session.replace('000', 'abc')}/xhr_send`, { body: '["x"]' });
    await s.ask('another server: gives', `POST ${session.replace('000', 'def')}/xhr`);
  },

  async 'methods that are not allowed'(s) {
    const session = s.session();
    const allowed = {
      '/echo': 'GET',
      '/echo/': 'GET',
      '/echo/info': 'GET OPTIONS',
      '/echo/iframe.html': 'GET',
      '/echo/websocket': 'GET',
      [`${session}/xhr`]: 'POST OPTIONS',
      [`${session}/xhr_send`]: 'POST OPTIONS',
      [`${session}/xhr_streaming`]: 'POST OPTIONS',
      [`${session}/eventsource`]: 'GET',
      [`${session}/htmlfile`]: 'GET',
      [`${session}/jsonp`]: 'GET',
      [`${session}/jsonp_send`]: 'POST',
      [`${session}/websocket`]: 'GET',
      '/disabled_websocket_echo/websocket': 'GET',
      '/disabled_websocket_echo/a/b/websocket': 'GET',
    };
    for (const [path, good] of Object.entries(allowed)) {
      for (const method of ['GET', 'POST', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'HEAD']) {
        if (good.split(' ').includes(method)) continue;
        const step = `${method} ${path.replace(session, '…')}`;
        await s.ask(step, `${method} ${path}`, { headers: method === 'POST' ? { 'Content-Length': 0 } : {} });
      }
    }
  },

  async info(s) {
    const entropies = new Set();
    const steps = { plain: {}, 'an origin': CORS, 'the origin null': { Origin: 'null' }, 'a cookie': { Cookie: 'JSESSIONID=mine' } };
    for (const service of ['/echo', '/disabled_websocket_echo', '/cookie_needed_echo']) {
      for (const [step, headers] of Object.entries(steps)) {
        const response = await s.fetch(`GET ${service}/info`, { headers });
        const { entropy } = JSON.parse(response.text);
        assert.ok(Number.isInteger(entropy) && entropy >= 0 && entropy < 2 ** 32, `entropy ${entropy}`);
        entropies.add(entropy);
        const shown = show(response);
        s.note(`${service}: ${step}`, { ...shown, body: shown.body.replace(/"entropy":\d+/, '"entropy":0') });
      }
    }
    assert.ok(entropies.size > 10, `entropy is new each time: ${[...entropies]}`);
    await s.ask('slash', 'OPTIONS /echo/info/');
  },

  async preflights(s) {
    const session = s.session();
    const paths = ['/echo/info', `${session}/xhr`, `${session}/xhr_send`, `${session}/xhr_streaming`];
    for (const path of paths) {
      const step = path.replace(session, '…');
      await s.ask(`${step}: plain`, `OPTIONS ${path}`);
      await s.ask(`${step}: an origin`, `OPTIONS ${path}`, { headers: { Origin: 'http://page.example' } });
      await s.ask(`${step}: an origin and headers`, `OPTIONS ${path}`, { headers: { ...CORS, 'Access-Control-Request-Method': 'POST' } });
      await s.ask(`${step}: headers`, `OPTIONS ${path}`, { headers: { 'Access-Control-Request-Headers': 'x-y' } });
      await s.ask(`${step}: no headers named`, `OPTIONS ${path}`, { headers: { Origin: 'null', 'Access-Control-Request-Headers': '' } });
    }
    const cookies = '/cookie_needed_echo';
    await s.ask('cookies: info', `OPTIONS ${cookies}/info`);
    await s.ask('cookies: xhr', `OPTIONS ${cookies}/a/b/xhr`, { headers: { Cookie: 'JSESSIONID=mine' } });
  },

  async 'iframe pages'(s) {
    const good = [
      '/iframe.html',
      '/iframe-a.html',
      '/iframe-.html',
      '/iframe-0.1.2.html',
      '/iframe-0.1.2abc-dirty.2144.html',
      '/iframe.html?t=1234',
      '/iframe.html/',
      '/iframe_a.html',
    ];
    const bad = [
      '/iframe.htm',
      '/iframe',
      '/IFRAME.HTML',
      '/IFRAME',
      '/iframe.HTML',
      '/iframe.xml',
      '/iframe-/.html',
      '/iframe-A.html',
      '/iframe+.html',
      '/iframe.html//',
      '/aiframe.html',
    ];
    for (const path of [...good, ...bad]) await s.ask(path, `GET /echo${path}`);
    await s.ask('a dot that is none', 'GET /echo/iframe-xhtml');
    await s.ask('an origin and a cookie', 'GET /cookie_needed_echo/iframe.html', { headers: { ...CORS, Cookie: 'JSESSIONID=mine' } });

    const page = await s.fetch('GET /echo/iframe.html');
    assert.ok(page.text.includes(`<script src="${SOCKJS_URL}"></script>`), page.text);
    const etag = page.header('etag');
    const again = await s.fetch('GET /echo/iframe-1.html');
    s.note('the tag is the same for all names', again.header('etag') === etag);
    for (const [step, tag] of Object.entries({ same: etag, other: '"other"', list: `"a", ${etag}`, weak: `W/${etag}`, any: '*' })) {
      await s.ask(`if-none-match: ${step}`, 'GET /echo/iframe.html', { headers: { 'If-None-Match': tag } });
    }
    const kept = await s.fetch('GET /echo/iframe.html', { headers: { 'If-None-Match': etag } });
    await s.ask('after 304 on one connection', 'GET /echo', { on: kept.connection });
  },

  async xhr(s) {
    const session = s.session();
    await s.ask('opens', `POST ${session}/xhr`, { headers: CORS });
    await s.ask('takes', `POST ${session}/xhr_send`, { body: '["x"]', headers: CORS });
    await s.ask('gives', `POST ${session}/xhr`);
    const waiting = s.fetch(`POST ${session}/xhr`, { headers: { Origin: 'null' } });
    await s.ask('takes while a poll waits', `POST ${session}/xhr_send`, { body: '["y"]', headers: { Origin: 'null' } });
    s.note('gives to the poll that waits', show(await waiting));
    await s.ask('takes many', `POST ${session}/xhr_send`, { body: '["a","b"]' });
    await s.ask('takes one more', `POST ${session}/xhr_send`, { body: '["c"]' });
    await s.ask('gives all in one', `POST ${session}/xhr`);
    await s.ask('a body that says nothing', `POST ${s.session()}/xhr`, { body: 'anything', headers: { 'Content-Type': 'text/plain' } });
  },

  async 'sending to what is not there'(s) {
    for (const [step, body] of Object.entries({ good: '["x"]', empty: '', broken: '["x' })) {
      await s.ask(`xhr_send: ${step}`, `POST ${s.session()}/xhr_send`, { body, headers: CORS });
      await s.ask(`jsonp_send: ${step}`, `POST ${s.session()}/jsonp_send`, { body, headers: { ...CORS, 'Content-Type': 'text/plain' } });
    }
    const session = s.session();
    await s.fetch(`POST ${session}/xhr_send`, { body: '["before"]' });
    await s.ask('a send makes no session', `POST ${session}/xhr`);
  },

  async 'xhr_send: payloads'(s) {
    const session = await opened(s);
    for (const [step, body] of Object.entries({
      empty: '',
      'a blank': ' ',
      'no array': 'x',
      'an array that does not end': '["x',
      'an array with a comma too many': '["x",]',
      'more after the array': '["x"]y',
      'the empty array': '[]',
      'a string': '"x"',
      'an empty string': '""',
      null: 'null',
      true: 'true',
      'the number 0': '0',
      'an object': '{}',
      'blanks around': ' [ "x1" ]\r\n',
      'an escape of no meaning': '["\\x"]',
      'a control character': '["\u0001"]',
      'escaped slash': '["x2\\/"]',
    })) {
      await s.ask(step, `POST ${session}/xhr_send`, { body });
    }
    await s.ask('no length and no body', `POST ${session}/xhr_send`);
    await s.ask('what of it arrived', `POST ${session}/xhr`);
  },

  async 'xhr_send: what is no string'(s) {
    for (const [step, body] of Object.entries({
      'a number in an array': '[1]',
      'null in an array': '[null]',
      'an object in an array': '[{"a":1}]',
      'an array in an array': '[["a"]]',
      'a string before a number': '["a",1]',
    })) {
      const session = await opened(s);
      const answer = await s.ask(step, `POST ${session}/xhr_send`, { body });
      s.note(`${step}: what arrived`, answer.status === 204 ? (await s.fetch(`POST ${session}/xhr`)).text : 'nothing');
    }
  },

  async 'xhr_send: halves of surrogate pairs, and what is no UTF-8'(s) {
    for (const [step, body] of Object.entries({
      'a high half': '["\\ud800"]',
      'a low half': '["\\udc00"]',
      'halves in the wrong order': '["\\udc00\\ud800"]',
      'a high half before text': '["\\ud83dx"]',
      'a pair': '["\\ud83d\\ude00"]',
      'upper case': '["\\uD83D\\uDE00\\u00E4"]',
      'a half in three octets': Buffer.from([0x5b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x5d]),
      'no UTF-8': Buffer.from([0x5b, 0x22, 0xff, 0xfe, 0x22, 0x5d]),
      'a mark of byte order': '\ufeff["x"]',
    })) {
      const session = await opened(s);
      const answer = await s.ask(step, `POST ${session}/xhr_send`, { body });
      s.note(`${step}: what arrived`, answer.status === 204 ? (await s.fetch(`POST ${session}/xhr`)).text : 'nothing');
    }
  },

  async 'xhr_send: content types'(s) {
    const session = await opened(s);
    const types = [
      'text/plain',
      'T',
      'application/json',
      'application/xml',
      'text/xml',
      '',
      'text/plain; charset=UTF-8',
      'application/json;charset=utf-8',
    ];
    const others = [
      'application/x-www-form-urlencoded',
      'application/octet-stream',
      'TEXT/PLAIN',
      'multipart/form-data; boundary=x',
      'nonsense',
    ];
    for (const type of [...types, ...others])
      await s.ask(`"${type}"`, `POST ${session}/xhr_send`, { body: '["x"]', headers: { 'Content-Type': type } });
    const later = await opened(s);
    await s.fetch(`POST ${later}/xhr_send`, { body: '["typed"]', headers: { 'Content-Type': 'text/plain; charset=ISO-8859-1' } });
    await s.ask('what arrived', `POST ${later}/xhr`);
  },

  async 'xhr_send: a chunked body'(s) {
    const session = await opened(s);
    const connection = await s.connect();
    const answer = connection.ask('POST', `${session}/xhr_send`, { headers: { 'Transfer-Encoding': 'chunked' } });
    for (const part of ['["a', 'b', '"]', '']) connection.socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
    s.note('takes', (await (await answer).whole()).status);
    await s.ask('gives', `POST ${session}/xhr`);
  },

  async 'large messages'(s) {
    const session = await opened(s);
    for (const [step, message] of Object.entries({
      ascii: 'x'.repeat(900_000),
      umlauts: 'é'.repeat(400_000),
      quoted: '"\\'.repeat(200_000),
    })) {
      const body = quoted([message]);
      await s.ask(`${step}: takes`, `POST ${session}/xhr_send`, { body });
      const response = await s.fetch(`POST ${session}/xhr`);
      s.note(`${step}: gives`, [response.status, response.text === `a${body}\n`]);
    }
  },

  async 'two large messages, one poll'(s) {
    const session = await opened(s);
    const all = ['x'.repeat(RESPONSE_LIMIT), 'y'];
    await send(s, session, quoted(all));
    const got = JSON.parse((await s.fetch(`POST ${session}/xhr`)).text.slice(1));
    s.note('in the first poll', got.length);
    if (got.length === 1) got.push(...JSON.parse((await s.fetch(`POST ${session}/xhr`)).text.slice(1)));
    assert.deepEqual(got, all);
  },

  async 'a second receiver'(s) {
    for (const [name, { open, frame }] of Object.entries(STREAMS)) {
      const session = s.session();
      const first = await s.begin(open(session));
      await first.until(frame('o'));
      for (const [other, second] of Object.entries(TRANSPORTS)) {
        const response = await s.begin(second.open(session));
        await s.end(`${name}, then ${other}`, response);
      }
      await send(s, session, '["still"]');
      await first.until(frame(array('still')));
      s.note(`${name}: the first one still is there`, first.complete);
      first.connection.abort();
    }
  },

  async 'two polls at once'(s) {
    const session = await opened(s);
    const polls = [s.fetch(`POST ${session}/xhr`), s.fetch(`POST ${session}/xhr`)];
    // One of the two, whichever came second, is answered.
    const refused = await Promise.race(polls);
    s.note('the second one', show(refused));
    await send(s, session, '["x"]');
    const answers = (await Promise.all(polls)).map(({ text }) => text).sort();
    s.note('both', answers);
    await send(s, session, '["y"]');
    await s.ask('and the session goes on', `POST ${session}/xhr`);
  },

  async 'a receiver that goes away'(s) {
    for (const [name, { open, frame }] of Object.entries(STREAMS)) {
      const session = s.session();
      const response = await s.begin(open(session));
      await response.until(frame('o'));
      await send(s, session, '["given"]');
      await response.until(frame(array('given')));
      response.connection.abort();
      s.note(`${name}: the next receiver gets`, await afterAbort(s, session));
    }
    const session = await opened(s);
    const polls = [1, 2].map(async () => (await s.begin(`POST ${session}/xhr`)).whole());
    for (const poll of polls) poll.catch(() => {});
    // One of them is told 2010; then both go.
    await Promise.race(polls);
    s.done();
    s.note('a poll that waited: the next receiver gets', await afterAbort(s, session));
  },

  async 'a new session after one that was aborted'(s) {
    const session = s.session();
    const { open, frame } = STREAMS.xhr_streaming;
    const response = await s.begin(open(session));
    await response.until(frame('o'));
    response.connection.abort();
    await eventually(8000, 'the session to be gone', async () => (await send(s, session, '["lost"]')).status === 404);
    // Receivers prolong the time for which a session repeats how it ended; sends do not.
    await new Promise((resolve) => setTimeout(resolve, 5500));
    await s.ask('opens', `POST ${session}/xhr`);
    await send(s, session, '["new"]');
    await s.ask('gives nothing that the old one had', `POST ${session}/xhr`);
  },

  async 'a session without a receiver lasts five seconds'(s) {
    const session = await opened(s);
    const begun = performance.now();
    await eventually(9000, 'the session to be gone', async () => (await send(s, session, '["x"]')).status === 404);
    const lasted = (performance.now() - begun) / 1000;
    assert.ok(lasted > 4.5 && lasted < 7, `lasted ${lasted.toFixed(1)} s`);
    await s.ask('a new session of that name', `POST ${session}/xhr`);
  },

  async 'sessions that the server closes'(s) {
    for (const [name, { open }] of Object.entries(TRANSPORTS)) {
      const session = s.session('/close');
      for (const step of ['first', 'second', 'third']) await s.end(`${name}: ${step}`, await s.begin(open(session)));
    }
    const session = s.session('/close');
    await s.fetch(`POST ${session}/xhr`);
    for (const [name, { open }] of Object.entries(TRANSPORTS)) await s.end(`${name} after xhr`, await s.begin(open(session)));
    await s.ask('xhr_send', `POST ${session}/xhr_send`, { body: '["x"]' });
    await s.ask('jsonp_send', `POST ${session}/jsonp_send`, {
      body: 'd=%5B%22x%22%5D',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    });
    const both = await Promise.all([s.fetch(`POST ${session}/xhr`), s.fetch(`POST ${session}/xhr`)]);
    s.note(
      'two at once, never 2010',
      both.map(({ text }) => text),
    );
  },

  async streams(s) {
    for (const [name, { open, frame, prelude }] of Object.entries(STREAMS)) {
      const session = s.session();
      const response = await s.begin(open(session), { headers: CORS });
      await response.until(frame('o'));
      s.note(`${name}: the beginning`, response.text);
      if (prelude) assert.ok(response.text.startsWith(prelude));
      for (const message of ['one', 'two three', '']) {
        await send(s, session, quoted([message]));
        await response.until(frame(array(message)));
      }
      await send(s, session, quoted(['x'.repeat(RESPONSE_LIMIT)]));
      await s.end(`${name}: whole`, response);

      // The session goes on in the next one, without a second `o`.
      await send(s, session, '["between"]');
      const next = await s.begin(open(session), { headers: { Origin: 'null' } });
      await next.until(frame(array('between')));
      await send(s, session, quoted(['y'.repeat(RESPONSE_LIMIT)]));
      await s.end(`${name}: the next one`, next);
    }
  },

  async 'the limit of a response'(s) {
    for (const [name, { open, frame }] of Object.entries(STREAMS)) {
      const empty = frame(array('')).length;
      for (const [step, short] of Object.entries({ 'one octet below': 1, exactly: 0, 'one octet above': -1 })) {
        const session = s.session();
        const response = await s.begin(open(session));
        await response.until(frame('o'));
        const message = 'x'.repeat(RESPONSE_LIMIT - short - frame('o').length - empty);
        await send(s, session, quoted([message]));
        await response.until(frame(array(message)));
        await send(s, session, '["after"]');
        // One octet below the limit there is room for a last frame.
        if (short > 0) await response.until(frame(array('after')));
        await s.end(`${name}: ${step}`, response);
        if (short <= 0) {
          const next = await s.begin(open(session));
          await next.until(frame(array('after')));
          next.connection.abort();
        }
      }
    }
  },

  async 'eventsource: what it escapes, and whom it lets read'(s) {
    for (const [step, headers] of Object.entries({ plain: {}, origin: CORS, 'the origin null': { Origin: 'null' } })) {
      const session = s.session();
      const response = await s.begin(`GET ${session}/eventsource`, { headers });
      await response.until('data: o\r\n\r\n');
      await send(s, session, quoted(['100 % %41 %0A é%', '\r\n\0']));
      await send(s, session, quoted(['z'.repeat(RESPONSE_LIMIT)]));
      await s.end(step, response);
    }
  },

  async 'htmlfile: callbacks'(s) {
    const bad = {
      none: '',
      empty: '?c=',
      'another name': '?d=cb',
      markup: '?c=%3Cscript%3E',
      brackets: '?c=a%5B0%5D',
      space: '?c=a+b',
      call: '?c=abc()',
      umlaut: '?c=%C3%A4',
      two: '?c=a&c=b',
      'a bad one under its long name': '?callback=a%3Bb',
      'a line end': '?c=a%0A',
    };
    const good = {
      short: '?c=a.b-c_d.E9',
      long: '?callback=cb',
      both: '?callback=one&c=two',
      'thirty-two characters': `?c=${'a'.repeat(32)}`,
      'thirty-three characters': `?c=${'a'.repeat(33)}`,
      encoded: '?c=%61b',
    };
    for (const [step, query] of Object.entries({ ...bad, ...good })) {
      const response = await s.begin(`GET ${s.session()}/htmlfile${query}`);
      s.note(step, show(await (response.status === 200 ? response.until('p("o")') : response.whole())));
    }
  },

  async 'htmlfile: messages that look like markup'(s) {
    const session = s.session();
    const response = await s.begin(`GET ${session}/htmlfile?c=cb`);
    await response.until('p("o")');
    for (const message of ['</script><script>alert(1)</script>', '<!-- <b>&amp;', '\'"\\/', '\u2028\u2029\0'])
      await send(s, session, quoted([message]));
    await send(s, session, quoted(['z'.repeat(RESPONSE_LIMIT)]));
    await s.end('whole', response);
  },

  async 'jsonp: callbacks'(s) {
    for (const [step, query] of Object.entries({
      none: '',
      empty: '?c=',
      'another name': '?d=cb',
      markup: '?c=%3Cscript%3E',
      brackets: '?c=a%5B0%5D',
      space: '?c=a+b',
      call: '?c=abc()',
      umlaut: '?c=%C3%A4',
      two: '?c=a&c=b',
      'thirty-two characters': `?c=${'a'.repeat(32)}`,
      'thirty-three characters': `?c=${'a'.repeat(33)}`,
      'all that may be': '?c=a.b-c_d.E9',
      'its long name': '?callback=cb',
      both: '?callback=one&c=two',
      'a bad one under its long name': '?callback=a%3Bb',
      encoded: '?c=%61b',
      'a line end': '?c=a%0A',
    })) {
      await s.ask(step, `GET ${s.session()}/jsonp${query}`, { headers: CORS });
    }
  },

  async 'jsonp: messages'(s) {
    const session = s.session();
    await s.ask('opens', `GET ${session}/jsonp?c=cb`);
    await s.ask('takes', `POST ${session}/jsonp_send`, {
      body: `d=${encodeURIComponent(quoted(['x', '</script>', '\u2028"\\']))}`,
      headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...CORS },
    });
    await s.ask('gives', `GET ${session}/jsonp?c=cb`);
    const waiting = s.fetch(`GET ${session}/jsonp?c=other`);
    await send(s, session, '["late"]');
    s.note('gives to the poll that waits', show(await waiting));
  },

  async 'jsonp_send: payloads'(s) {
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    const text = { 'Content-Type': 'text/plain' };
    const session = await opened(s);
    for (const [step, [headers, body]] of Object.entries({
      'form: one': [form, 'd=%5B%22f1%22%5D'],
      'form: plus is a space': [form, 'd=%5B%22f+2%22%5D'],
      'form: a plus': [form, 'd=%5B%22f%2B3%22%5D'],
      'form: unencoded': [form, 'd=["f4"]'],
      'form: umlauts': [form, 'd=%5B%22f5 %C3%A4%22%5D'],
      'form: others before and after': [form, 'a=b&d=%5B%22f6%22%5D&e'],
      'form: with a charset': [{ 'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8' }, 'd=%5B%22f7%22%5D'],
      'form: empty array': [form, 'd=%5B%5D'],
      'form: nothing': [form, ''],
      'form: d is empty': [form, 'd='],
      'form: d is missing': [form, 'x=%5B%22f8%22%5D'],
      'form: broken': [form, 'd=%5B%22f9'],
      'form: d without =': [form, 'd'],
      'form: a string': [form, 'd=%22s%22'],
      'form: an object': [form, 'd=%7B%7D'],
      'form: null': [form, 'd=null'],
      'form: an array alone': [form, '["f10"]'],
      'text: one': [text, '["t1"]'],
      'text: verbatim': [text, '["t%202+"]'],
      'text: with a charset': [{ 'Content-Type': 'text/plain;charset=UTF-8' }, '["t3 ä"]'],
      'text: empty array': [text, '[]'],
      'text: nothing': [text, ''],
      'text: broken': [text, '["t4'],
      'text: a form': [text, 'd=%5B%22t5%22%5D'],
      'text: null': [text, 'null'],
      'text: an object': [text, '{}'],
      'untyped: one': [{}, '["u1"]'],
      'untyped: a form': [{}, 'd=%5B%22u2%22%5D'],
    })) {
      await s.ask(step, `POST ${session}/jsonp_send`, { body, headers });
    }
    for (const type of ['application/json', 'application/octet-stream', 'APPLICATION/X-WWW-FORM-URLENCODED']) {
      const other = await opened(s);
      await s.ask(`type ${type}`, `POST ${other}/jsonp_send`, {
        body: type.includes('FORM') ? 'd=%5B%22o%22%5D' : '["o"]',
        headers: { 'Content-Type': type },
      });
    }
    await s.ask('what of it arrived', `POST ${session}/xhr`);
  },

  async cookies(s) {
    const service = '/cookie_needed_echo';
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    for (const [step, headers] of Object.entries({
      none: {},
      own: { Cookie: 'a=b; JSESSIONID=mine; c=d' },
      other: { Cookie: 'XJSESSIONID=no; jsessionid=no' },
      quoted: { Cookie: 'JSESSIONID="q"' },
    })) {
      for (const [name, { open, frame }] of Object.entries(TRANSPORTS)) {
        const response = await s.begin(open(s.session(service)), { headers });
        await response.until(frame('o'));
        s.note(`${step}: ${name}`, { ...show(response), body: '' });
      }
      const session = await opened(s, service, headers);
      await s.ask(`${step}: xhr_send`, `POST ${session}/xhr_send`, { body: '["x"]', headers });
      await s.ask(`${step}: jsonp_send`, `POST ${session}/jsonp_send`, { body: 'd=%5B%22x%22%5D', headers: { ...headers, ...form } });
      await s.ask(`${step}: a session that is not there`, `POST ${s.session(service)}/xhr_send`, { body: '["x"]', headers });
      const upgraded = await s.begin(`GET ${s.session(service)}/websocket`, { headers: { ...UPGRADE, ...headers } });
      s.note(`${step}: websocket`, { ...show(upgraded), body: '' });
      await s.ask(`${step}: greeting`, `GET ${service}`, { headers });
    }
    await s.ask('a cookie with = in it', `POST ${s.session(service)}/xhr`, { headers: { Cookie: 'JSESSIONID=a=b' } });
    await s.ask('where none is needed', `POST ${s.session()}/xhr`, { headers: { Cookie: 'JSESSIONID=mine' } });
  },

  async 'a session that was opened with credentials'(s) {
    const own = { Cookie: 'sid=alice', Authorization: 'Bearer alice' };
    const session = await opened(s, '/echo', own);
    for (const [step, headers] of Object.entries({
      own,
      'no cookie': { Authorization: 'Bearer alice' },
      another: { Cookie: 'sid=bob', Authorization: 'Bearer bob' },
      none: {},
    })) {
      await s.ask(`${step}: xhr_send`, `POST ${session}/xhr_send`, { body: '[]', headers });
    }
    await s.ask('own: xhr_send of a message', `POST ${session}/xhr_send`, { body: '["x"]', headers: own });
    await s.ask('own: xhr', `POST ${session}/xhr`, { headers: own });
    const anybodys = await opened(s);
    await s.ask('opened with none', `POST ${anybodys}/xhr_send`, { body: '[]', headers: own });
  },

  async 'handshakes that are refused'(s) {
    const paths = { session: `${s.session()}/websocket`, raw: '/echo/websocket' };
    for (const [name, path] of Object.entries(paths)) {
      await s.ask(`${name}: no Upgrade`, `GET ${path}`);
      await s.ask(`${name}: another Upgrade`, `GET ${path}`, { headers: { ...UPGRADE, Upgrade: 'h2c' } });
      await s.ask(`${name}: Upgrade without Connection`, `GET ${path}`, { headers: { Upgrade: 'WebSocket' } });
      await s.ask(`${name}: another Connection`, `GET ${path}`, { headers: { ...UPGRADE, Connection: 'close' } });
      await s.ask(`${name}: POST`, `POST ${path}`, { headers: UPGRADE });
      await s.ask(`${name}: an old version`, `GET ${path}`, { headers: { ...UPGRADE, 'Sec-WebSocket-Version': '7' } });
    }
    for (const headers of [{}, UPGRADE]) {
      const how = headers === UPGRADE ? 'asked for' : 'not asked for';
      await s.ask(`switched off, ${how}`, `GET /disabled_websocket_echo/a/${s.id}/websocket`, { headers });
      await s.ask(`switched off, raw, ${how}`, 'GET /disabled_websocket_echo/websocket', { headers });
    }
    for (const path of ['/echo//b/websocket', '/echo/a.b/c/websocket', '/echo/a'])
      await s.ask(`GET ${path}`, `GET ${path}`, { headers: UPGRADE });
  },

  async 'handshakes that are accepted'(s) {
    for (const [name, path] of Object.entries({
      session: `${s.session()}/websocket`,
      raw: '/echo/websocket',
      slash: `${s.session()}/websocket/`,
    })) {
      for (const [step, headers] of Object.entries({
        plain: UPGRADE,
        'many words': { ...UPGRADE, Connection: 'keep-alive, Upgrade' },
        'another case': { ...UPGRADE, Upgrade: 'WebSocket', Connection: 'upgrade' },
        'an origin': { ...UPGRADE, Origin: 'http://page.example' },
        extensions: { ...UPGRADE, 'Sec-WebSocket-Extensions': 'permessage-deflate' },
      })) {
        const response = await s.begin(`GET ${path}`, { headers });
        assert.equal(response.header('sec-websocket-accept'), ACCEPT);
        s.note(`${name}: ${step}`, { ...show(response), body: '', connection: response.header('connection')?.toLowerCase() });
      }
    }
  },

  async websocket(s) {
    const frames = await s.frames(`GET ${s.session()}/websocket`);
    s.note('opens', await frames.next());
    for (const [step, text] of Object.entries({
      one: '["x"]',
      'a string alone': '"y"',
      'blanks around': ' ["z"] ',
      umlauts: '["ä\\u00e4"]',
      pair: '["\\ud83d\\ude00😀"]',
      markup: '["</script>%"]',
    })) {
      frames.text(text);
      s.note(step, await frames.next());
    }
    for (const nothing of ['', '[]']) frames.text(nothing);
    frames.text('["a","b"]');
    const got = [];
    while (got.length < 2) got.push(...JSON.parse((await frames.next()).slice('text a'.length)));
    s.note('two in one, after nothing twice', got);
    frames.close(1000, 'bye');
    s.note(
      'ends',
      (await frames.rest()).filter((frame) => frame !== 'close 1000 bye' && frame !== 'close 1000'),
    );
  },

  async 'websocket: what is no message'(s) {
    for (const [step, text] of Object.entries({
      broken: '["x',
      'no JSON': 'x',
      'more after it': '["x"]y',
      'a blank': ' ',
      'a number': '1',
      'a number in an array': '[1]',
      null: 'null',
      'an object': '{}',
      'half of a pair': '["\\ud800"]',
    })) {
      const frames = await s.frames(`GET ${s.session()}/websocket`);
      await frames.next();
      frames.text(text);
      s.note(step, await answerOrEnd(frames));
    }
    const frames = await s.frames(`GET ${s.session()}/websocket`);
    await frames.next();
    frames.binary(Buffer.from('["x"]'));
    s.note('binary', await answerOrEnd(frames));
    await s.ask('and the server is there still', 'GET /echo');
  },

  async 'websocket: the server closes'(s) {
    const frames = await s.frames(`GET ${s.session('/close')}/websocket`);
    s.note('frames', await frames.rest());
    const raw = await s.frames('GET /close/websocket');
    s.note('raw', await raw.rest());
  },

  async 'websocket: sessions stand outside the table'(s) {
    const session = s.session();
    const all = [await s.frames(`GET ${session}/websocket`), await s.frames(`GET ${session}/websocket`)];
    for (const frames of all) s.note(`opens ${all.indexOf(frames)}`, await frames.next());
    await s.ask('xhr_send does not find it', `POST ${session}/xhr_send`, { body: '["x"]' });
    await s.ask('xhr opens another', `POST ${session}/xhr`);
  },

  async 'raw websocket'(s) {
    const frames = await s.frames('GET /echo/websocket');
    for (const text of ['x', '["x"]', '', 'ä\u2028\0😀']) {
      frames.text(text);
      s.note(quoted(text), await frames.next());
    }
    frames.binary(Buffer.from('octets'));
    s.note('binary', await frames.next());
    frames.close(3001, 'bye');
    s.note('ends', await frames.rest());
  },

  async quoting(s) {
    const ranges = [
      [0, 0x1f],
      [0x20, 0x7e],
      [0x7f, 0x9f],
      [0xa0, 0xff],
      [0xad, 0xad],
      [0x300, 0x36f],
      [0x600, 0x604],
      [0x70f, 0x70f],
      [0x17b4, 0x17b5],
      [0x2000, 0x200b],
      [0x200c, 0x200f],
      [0x2010, 0x2027],
      [0x2028, 0x202f],
      [0x2030, 0x205f],
      [0x2060, 0x206f],
      [0x2070, 0x208f],
      [0xd7f0, 0xd7ff],
      [0xe000, 0xe00f],
      [0xfe00, 0xfeff],
      [0xff00, 0xffef],
      [0xfff0, 0xffff],
    ];
    const characters = (first, last) => String.fromCharCode(...Array.from({ length: last - first + 1 }, (_, i) => first + i));
    const escaped = (text) => text.replaceAll(/[^]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
    const session = await opened(s);
    const frames = await s.frames(`GET ${s.session()}/websocket`);
    await frames.next();
    for (const [first, last] of ranges) {
      const name = `U+${first.toString(16)}–${last.toString(16)}`;
      const text = characters(first, last);
      for (const [how, body] of Object.entries({ escaped: `["${escaped(text)}"]`, 'as it is': quoted([text]) })) {
        await send(s, session, body);
        const { text: answer } = await s.fetch(`POST ${session}/xhr`);
        assert.equal(JSON.parse(answer.slice(1))[0], text, `${name} comes back`);
        s.note(`${name}, sent ${how}, by xhr`, answer);
        frames.text(body);
        s.note(`${name}, sent ${how}, by websocket`, await frames.next());
      }
    }
    const pairs = ['😀', '\u{10000}', '\u{1d173}', '\u{e0001}', '\u{10ffff}', '\u{1fffe}'].join('');
    await send(s, session, quoted([pairs]));
    const { text: answer } = await s.fetch(`POST ${session}/xhr`);
    assert.equal(JSON.parse(answer.slice(1))[0], pairs);
    s.note('beyond U+ffff', answer);
  },

  async 'HTTP/1.0'(s) {
    for (const [step, headers] of Object.entries({ plain: {}, 'keep-alive': { Connection: 'Keep-Alive' } })) {
      // A POST of HTTP/1.0 has to have a length (RFC 1945, section 7.2.2).
      const options = { version: '1.0', headers, body: '', host: step === 'plain' ? undefined : 'server.example' };
      const greeting = await s.fetch('GET /echo', { ...options, body: undefined });
      s.note(`${step}: greeting`, { ...show(greeting), framing: greeting.framing === 'chunked' });
      for (const [name, { open, frame }] of Object.entries(STREAMS)) {
        const session = s.session();
        const response = await s.begin(open(session), options);
        await response.until(frame('o'));
        await send(s, session, quoted(['x'.repeat(RESPONSE_LIMIT)]));
        await response.whole();
        s.note(`${step}: ${name}`, {
          ...show(response),
          framing: response.framing,
          keeps: response.keepsAlive,
          closes: await response.connection.closes(),
        });
      }
      for (const [name, { open }] of Object.entries(POLLS)) {
        const response = await s.fetch(open(s.session()), options);
        s.note(`${step}: ${name}`, { ...show(response), chunked: response.framing === 'chunked' });
        s.note(`${step}: ${name}, and then`, response.keepsAlive ? 'stays' : (await response.connection.closes()) && 'closes');
      }
      const session = await opened(s);
      await s.ask(`${step}: takes`, `POST ${session}/xhr_send`, { ...options, body: '["x"]' });
      await s.ask(`${step}: gives`, `POST ${session}/xhr`, options);
    }
    await s.ask('websocket', `GET ${s.session()}/websocket`, { version: '1.0', headers: { Connection: 'close' } });
  },

  async 'one connection for many requests'(s) {
    const on = await s.connect();
    const session = s.session();
    await s.ask('opens', `POST ${session}/xhr`, { on });
    await s.ask('takes', `POST ${session}/xhr_send`, { on, body: '["x"]' });
    await s.ask('gives', `POST ${session}/xhr`, { on });
    await s.ask('refuses', `POST ${session}/xhr_send`, { on, body: '["x' });
    await s.ask('preflight', `OPTIONS ${session}/xhr`, { on, headers: CORS });
    await s.ask('not found', 'GET /echo/none', { on });
    await s.ask('not allowed', `GET ${session}/xhr`, { on });
    await s.ask('jsonp', `GET ${session.replace('-1', '-9')}/jsonp?c=cb`, { on });
    for (const [name, { open, frame }] of Object.entries(STREAMS)) {
      const streamed = s.session();
      const response = await s.begin(open(streamed), { on });
      await response.until(frame('o'));
      await send(s, streamed, quoted(['x'.repeat(RESPONSE_LIMIT)]));
      await s.end(name, response);
      s.note(`${name}: stays`, response.keepsAlive);
    }
    await s.ask('info', 'OPTIONS /echo/info', { on });
    s.note('is open still', on.ended === false);
  },

  async 'a client that wants the connection closed'(s) {
    const headers = { Connection: 'close' };
    const session = s.session();
    for (const [step, request, body] of [
      ['xhr', `POST ${session}/xhr`],
      ['xhr_send', `POST ${session}/xhr_send`, '["x"]'],
      ['greeting', 'GET /echo'],
      ['preflight', 'OPTIONS /echo/info'],
    ]) {
      const response = await s.ask(step, request, { headers, body });
      s.note(`${step}: closes`, [response.keepsAlive, await response.connection.closes()]);
    }
    const streamed = s.session('/close');
    const response = await s.fetch(`POST ${streamed}/xhr_streaming`, { headers });
    s.note('a stream closes', [response.text, await response.connection.closes()]);
  },

  async 'requests that do not wait for answers'(s) {
    const on = await s.connect();
    const session = s.session();
    const opens = s.begin(`POST ${session}/xhr`, { on });
    const polls = s.begin(`POST ${session}/xhr`, { on });
    s.note('the first', show(await (await opens).whole()));
    await send(s, session, '["x"]');
    s.note('the second', show(await (await polls).whole()));

    // Requests without bodies, of which more than one may be under way (RFC 9112, section 9.3.2).
    const more = ['GET /echo', `OPTIONS ${session}/xhr`, 'GET /echo/none', `GET ${session}/jsonp?c=cb`].map((request) =>
      s.begin(request, { on }),
    );
    await send(s, session, '["y"]');
    for (const response of more) s.note((await response).request, show(await (await response).whole()));
  },
};

/** What the receiver after an aborted one gets, once the server has noticed: 2010 until then. */
async function afterAbort(s, session) {
  return eventually(8000, 'the server to notice that its receiver went away', async () => {
    const { text } = await s.fetch(`POST ${session}/xhr`);
    return !text.includes('2010') && text;
  });
}

/** The frames with which a session ends, or the one that says that it goes on. */
async function answerOrEnd(frames) {
  const first = await frames.next();
  return first.startsWith('text a') ? first : [first, ...(await afterClose(frames, first))];
}

async function afterClose(frames, first) {
  if (first === 'end') return [];
  if (first.startsWith('close')) frames.close(Number(/\d+/.exec(first)?.[0] ?? 1000));
  return frames.rest();
}
