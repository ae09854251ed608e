// The server under test against sockjs-node, the reference: one script of requests goes to both, and what comes back is
// compared octet by octet. SOCKJS_TEST_SERVER names the program (sockjs/examples/test_server.rs); `sockjs-node` in its
// place compares the reference with itself, which shows what the script itself makes uncertain.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Judge } from './support/differences.mjs';
import { cases, Side, STREAMS, YEAR } from './support/sockjs-script.mjs';
import { startReference, startTested } from './support/sockjs-servers.mjs';

const PROGRAM = process.env.SOCKJS_TEST_SERVER;
const ITSELF = PROGRAM === 'sockjs-node';

/** What differs at every answer of which `when` says so: a field, what it is on either side, and why. Always, or the test fails. */
const RULES = [
  {
    field: 'x-accel-buffering',
    when: (theirs, ours) => theirs.status === ours.status && /no-store/.test(ours['cache-control']),
    theirs: undefined,
    ours: 'no',
    why: 'nginx would keep answers back until they end',
  },
  ...['vary', 'access-control-allow-origin'].map((field) => ({
    field,
    when: (theirs, ours) =>
      /\/(jsonp|jsonp_send|htmlfile)\b/.test(ours.request) && theirs.status === ours.status && /no-store/.test(ours['cache-control']),
    theirs: undefined,
    ours: (value) => value !== undefined,
    why: 'all transports answer alike; scripts and pages are loaded without regard to it',
  })),
  ...['access-control-allow-credentials', 'access-control-allow-headers'].map((field) => ({
    field,
    when: (theirs, ours) => /\/(jsonp|jsonp_send|htmlfile)\b/.test(ours.request) && theirs.status === ours.status && ours[field] !== undefined,
    theirs: undefined,
    ours: (value) => value !== undefined,
    why: 'as above',
  })),
  {
    field: 'body',
    when: (theirs, ours) => theirs.status === 404 && ours.status === 404 && theirs.body !== '',
    theirs: '404 Error: Page not found\n',
    ours: '',
    why: 'clients look at the status alone',
  },
  {
    field: 'content-type',
    when: (theirs, ours) => theirs.status === 404 && ours.status === 404 && theirs.body !== '',
    theirs: 'text/plain; charset=UTF-8',
    ours: undefined,
    why: 'there is no content',
  },
  {
    field: 'content-type',
    when: (theirs, ours) => theirs.status === ours.status && theirs.status >= 400 && ours.body !== '' && theirs['content-type'] === undefined,
    theirs: undefined,
    ours: 'text/plain; charset=utf-8',
    why: 'what is sent says what it is; with nosniff or without, it is no markup',
  },
];

const BROKEN = ['close 3000 Broken framing.', 'end'];
const brokenHere = (step, theirs, why) => ({
  case: 'websocket: what is no message',
  steps: [step],
  theirs,
  ours: ['text c[3000,"Broken framing."]', 'close 1000 Normal closure', 'end'],
  why,
});
const refusedHere = (name, step, arrived, why) => [
  { case: name, steps: [step], theirs: { status: 204 }, ours: { status: 500, body: 'Broken JSON encoding.' }, why },
  { case: name, steps: [`${step}: what arrived`], theirs: arrived, ours: 'nothing', why },
];

/**
 * Single differences: the case, the steps, what differs on either side, and why. Where the status differs, nothing else
 * of the answer is compared.
 */
const DIFFERENCES = [
  {
    case: 'the greeting',
    steps: ['query'],
    theirs: { status: 404 },
    ours: { status: 200, body: 'Welcome to SockJS!\n' },
    why: 'a query is no part of the path; sockjs-node overlooks it here alone',
  },
  {
    case: 'paths that are not found',
    steps: ['an encoded dot', 'an encoded dot in the name of a server'],
    theirs: { status: 200 },
    ours: { status: 404 },
    why: 'an id has no dot, however that is written',
  },
  {
    case: 'paths that are not found',
    steps: ['chunking_test, which no client of today asks for'],
    theirs: { status: 204 },
    ours: { status: 404 },
    why: 'no part of SockJS 0.3.3',
  },
  {
    case: 'methods that are not allowed',
    steps: ['POST', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'HEAD'].flatMap((method) => [
      `${method} /disabled_websocket_echo/websocket`,
      `${method} /disabled_websocket_echo/a/b/websocket`,
    ]),
    theirs: { status: 405 },
    ours: { status: 404 },
    why: 'switched off, it is not there: 404 (SockJS 0.3.3)',
  },
  {
    case: 'preflights',
    steps: ['cookies: info'],
    theirs: { 'set-cookie': 'JSESSIONID=dummy; path=/' },
    ours: { 'set-cookie': undefined },
    why: 'the cookie is one of transports, not of /info',
  },
  {
    case: 'iframe pages',
    steps: ['a dot that is none'],
    theirs: { status: 200 },
    ours: { status: 404 },
    why: 'the dot of a regular expression, by mistake',
  },
  {
    case: 'iframe pages',
    steps: ['if-none-match: same'],
    theirs: { etag: undefined },
    ours: { etag: 'strong' },
    why: 'RFC 9110, section 15.4.5',
  },
  ...['empty', 'broken'].map((payload) => ({
    case: 'sending to what is not there',
    steps: [`xhr_send: ${payload}`, `jsonp_send: ${payload}`],
    theirs: { status: 500 },
    ours: { status: 404 },
    why: 'what is sent to a session that is not there is not read',
  })),
  ...Object.entries({
    'a number in an array': 'a["1"]\n',
    'null in an array': 'a["null"]\n',
    'an object in an array': 'a["[object Object]"]\n',
    'an array in an array': 'a["a"]\n',
    'a string before a number': 'a["a","1"]\n',
  }).flatMap(([step, arrived]) => refusedHere('xhr_send: what is no string', step, arrived, 'messages are strings')),
  ...Object.entries({
    'a high half': 'a["\\ud800"]\n',
    'a low half': 'a["\\udc00"]\n',
    'halves in the wrong order': 'a["\\udc00\\ud800"]\n',
    'a high half before text': 'a["\\ud83dx"]\n',
    'a half in three octets': 'a["\\ufffd\\ufffd\\ufffd"]\n',
    'no UTF-8': 'a["\\ufffd\\ufffd"]\n',
  }).flatMap(([step, arrived]) =>
    refusedHere('xhr_send: halves of surrogate pairs, and what is no UTF-8', step, arrived, 'no text: refused rather than changed'),
  ),
  {
    case: 'xhr_send: halves of surrogate pairs, and what is no UTF-8',
    steps: ['a pair: what arrived'],
    theirs: 'a["\\ud83d\\ude00"]\n',
    ours: 'a["😀"]\n',
    why: 'JavaScript sees halves; pairs need no escape',
  },
  {
    case: 'xhr_send: halves of surrogate pairs, and what is no UTF-8',
    steps: ['upper case: what arrived'],
    theirs: 'a["\\ud83d\\ude00ä"]\n',
    ours: 'a["😀ä"]\n',
    why: 'as above',
  },
  {
    case: 'xhr_send: content types',
    steps: [
      '"application/x-www-form-urlencoded"',
      '"application/octet-stream"',
      '"TEXT/PLAIN"',
      '"multipart/form-data; boundary=x"',
      '"nonsense"',
    ],
    theirs: { status: 500 },
    ours: { status: 204 },
    why: 'the body is judged, whatever its type is said to be',
  },
  {
    case: 'two large messages, one poll',
    steps: ['in the first poll'],
    theirs: 2,
    ours: 1,
    why: 'the limit of a response is one for polls too',
  },
  {
    case: 'streams',
    steps: ['eventsource: the next one'],
    theirs: { 'access-control-allow-origin': '*', 'access-control-allow-credentials': undefined },
    ours: { 'access-control-allow-origin': 'null', 'access-control-allow-credentials': 'true' },
    why: 'as sockjs-node itself answers xhr: all transports alike',
  },
  {
    case: 'eventsource: what it escapes, and whom it lets read',
    steps: ['the origin null'],
    theirs: { 'access-control-allow-origin': '*', 'access-control-allow-credentials': undefined },
    ours: { 'access-control-allow-origin': 'null', 'access-control-allow-credentials': 'true' },
    why: 'as above',
  },
  {
    case: 'a receiver that goes away',
    steps: [...Object.keys(STREAMS), 'a poll that waited'].map((name) => `${name}: the next receiver gets`),
    theirs: 'o\n',
    ours: 'c[1002,"Connection interrupted"]\n',
    why: 'a client that comes back hears that something was lost; a second `o` would say so less clearly (SockJS 0.3.3)',
  },
  {
    case: 'htmlfile: callbacks',
    steps: ['empty', 'thirty-three characters'],
    theirs: { status: 200 },
    ours: { status: 500, body: 'invalid "callback" parameter' },
    why: 'one rule for callbacks: one character at least and 32 at most',
  },
  {
    case: 'htmlfile: callbacks',
    steps: ['two'],
    theirs: { status: 500 },
    ours: { status: 200, body: /parent\.a;/ },
    why: 'the first counts',
  },
  {
    case: 'htmlfile: messages that look like markup',
    steps: ['whole'],
    theirs: { body: /p\("a\[\\"<\/script><script>alert\(1\)<\/script>\\"\]"\)/ },
    ours: { body: /p\("a\[\\"<\\\/script>\\u003cscript>alert\(1\)<\\\/script>\\"\]"\)/ },
    why: 'a message must not become markup',
  },
  {
    case: 'jsonp: callbacks',
    steps: ['empty'],
    theirs: { status: 200 },
    ours: { status: 500, body: 'invalid "callback" parameter' },
    why: 'nothing is no name',
  },
  {
    case: 'jsonp: callbacks',
    steps: ['two'],
    theirs: { status: 500 },
    ours: { status: 200, body: '/**/a("o");\r\n' },
    why: 'the first counts',
  },
  {
    case: 'jsonp: messages',
    steps: ['gives'],
    theirs: { body: '/**/cb("a[\\"x\\",\\"</script>\\",\\"\\\\u2028\\\\\\"\\\\\\\\\\"]");\r\n' },
    ours: { body: '/**/cb("a[\\"x\\",\\"<\\/script>\\",\\"\\\\u2028\\\\\\"\\\\\\\\\\"]");\r\n' },
    why: 'the same text to a script; as in htmlfile',
  },
  {
    case: 'jsonp_send: payloads',
    steps: ['type application/json', 'type application/octet-stream'],
    theirs: { status: 500 },
    ours: { status: 200, body: 'ok' },
    why: 'the body is judged, whatever its type is said to be',
  },
  {
    case: 'cookies',
    steps: ['a cookie with = in it'],
    theirs: { 'set-cookie': 'JSESSIONID=a; path=/' },
    ours: { 'set-cookie': 'JSESSIONID=a=b; path=/' },
    why: 'the value goes to the end (RFC 6265, section 4.1.1)',
  },
  ...Object.entries({ none: 'dummy', own: 'mine', other: 'dummy', quoted: '"q"' }).map(([step, value]) => ({
    case: 'cookies',
    steps: [`${step}: websocket`],
    theirs: { 'set-cookie': undefined },
    ours: { 'set-cookie': `JSESSIONID=${value}; path=/` },
    why: 'a load balancer wants it on each transport',
  })),
  {
    case: 'a session that was opened with credentials',
    steps: ['no cookie: xhr_send', 'another: xhr_send', 'none: xhr_send'],
    theirs: { status: 204 },
    ours: { status: 403, body: 'This session was opened with other credentials.' },
    why: 'an id that was overheard is no authority over a session',
  },
  ...['session', 'raw'].flatMap((name) => [
    {
      case: 'handshakes that are refused',
      steps: [`${name}: no Upgrade`, `${name}: another Upgrade`],
      theirs: { body: 'Not a valid websocket request' },
      ours: { body: 'Can "Upgrade" only to "WebSocket".' },
      why: 'the text of SockJS 0.3.3',
    },
    {
      case: 'handshakes that are refused',
      steps: [`${name}: Upgrade without Connection`, `${name}: another Connection`],
      theirs: { body: 'Not a valid websocket request' },
      ours: { body: '"Connection" must be "Upgrade".' },
      why: 'the text of SockJS 0.3.3',
    },
    {
      case: 'handshakes that are refused',
      steps: [`${name}: an old version`],
      theirs: { status: 400 },
      ours: { status: 426 },
      why: 'RFC 6455, section 4.4',
    },
  ]),
  {
    case: 'handshakes that are refused',
    steps: ['switched off, not asked for', 'switched off, raw, not asked for', 'switched off, asked for', 'switched off, raw, asked for'],
    theirs: { 'cache-control': `public, max-age=${YEAR}`, expires: 'in a year' },
    ours: { 'cache-control': undefined, expires: undefined },
    why: 'a setting may change before the year is over',
  },
  {
    case: 'websocket',
    steps: ['pair'],
    theirs: 'text a["\\ud83d\\ude00\\ud83d\\ude00"]',
    ours: 'text a["😀😀"]',
    why: 'JavaScript sees halves; pairs need no escape',
  },
  ...Object.entries({ broken: BROKEN, 'no JSON': BROKEN, 'more after it': BROKEN, 'a blank': BROKEN }).map(([step, node]) =>
    brokenHere(step, node, 'a close frame of SockJS as well'),
  ),
  ...Object.entries({
    'a number': 'text a["1"]',
    'a number in an array': 'text a["1"]',
    null: 'text a["null"]',
    'an object': 'text a["[object Object]"]',
    'half of a pair': 'text a["\\ud800"]',
  }).map(([step, node]) => brokenHere(step, node, 'messages are strings')),
  {
    case: 'websocket: what is no message',
    steps: ['binary'],
    theirs: 'text a["x"]',
    ours: ['text c[1003,"SockJS carries text only"]', 'close 1003 SockJS carries text only', 'end'],
    why: 'RFC 6455, section 7.4.1',
  },
  {
    case: 'raw websocket',
    steps: ['binary'],
    theirs: 'text octets',
    ours: 'binary octets',
    why: 'the echo of octets is octets; sockjs-node makes text of them',
  },
  {
    case: 'raw websocket',
    steps: ['ends'],
    theirs: ['close 3001 bye', 'end'],
    ours: ['close 3001', 'end'],
    why: 'the code is what an answer to a close repeats (RFC 6455, section 5.5.1)',
  },
  {
    case: 'jsonp_send: payloads',
    steps: ['type APPLICATION/X-WWW-FORM-URLENCODED'],
    theirs: { status: 500 },
    ours: { status: 200, body: 'ok' },
    why: 'types are told apart without regard to case (RFC 9110, section 8.3.1)',
  },
  {
    case: 'HTTP/1.0',
    steps: ['keep-alive: xhr, and then', 'keep-alive: jsonp, and then'],
    theirs: 'closes',
    ours: 'stays',
    why: 'one frame has a length, so that the connection may stay as asked for',
  },
  {
    case: 'HTTP/1.0',
    steps: ['websocket'],
    theirs: { body: 'Not a valid websocket request' },
    ours: { body: 'Can "Upgrade" only to "WebSocket".' },
    why: 'the text of SockJS 0.3.3',
  },
  {
    case: 'quoting',
    steps: ['beyond U+ffff'],
    theirs: /^a\["\\ud83d\\ude00/,
    ours: /^a\["😀/,
    why: 'JavaScript sees halves; pairs need no escape',
  },
];

const judge = new Judge({ listed: DIFFERENCES, rules: RULES, main: 'status', name: 'sockjs-node' });

const skip =
  !PROGRAM && 'set SOCKJS_TEST_SERVER to the example test_server of the crate sockjs (cargo build -p sockjs --example test_server)';

describe('against sockjs-node', { skip }, () => {
  let reference;
  let tested;
  before(async () => {
    [reference, tested] = await Promise.all([startReference(), startTested(PROGRAM)]);
  });
  after(async () => {
    await Promise.all([reference?.stop(), tested?.stop()]);
  });

  for (const [name, run] of Object.entries(cases)) {
    test(name, async (t) => {
      // sockjs-node has one table of sessions for all its servers in a process.
      const id = `s${Object.keys(cases).indexOf(name)}`;
      const sides = [new Side(reference.port, ITSELF ? `${id}r` : id), new Side(tested.port, ITSELF ? `${id}t` : id)];
      t.after(() => sides.forEach((side) => side.done()));
      const ends = await Promise.allSettled(sides.map((side) => run(side)));
      for (const [i, { reason }] of ends.entries())
        if (reason) throw new Error(`${['sockjs-node', 'the server under test'][i]}: ${reason.message}`, { cause: reason });
      const [theirs, ours] = sides.map(({ seen }) => seen);
      const faults = ITSELF ? judge.differences(theirs, ours) : judge.faults(name, theirs, ours);
      assert.ok(faults.length === 0, `${faults.length} differences that are not as listed:\n${faults.join('\n')}`);
    });
  }

  test('every listed difference is one of a case', () => {
    assert.deepEqual(
      DIFFERENCES.filter((difference) => !Object.hasOwn(cases, difference.case)),
      [],
    );
  });
});
