// What RabbitMQ's STOMP plug-in and the server under test do differently, and why.

const both = (command) => (theirs, ours) => theirs.command === command && ours.command === command;
const message = both('MESSAGE');
const error = both('ERROR');

/** What differs at every answer of which `when` says so. */
export const RULES = [
  {
    field: 'heart-beat',
    when: both('CONNECTED'),
    theirs: /^\d+,\d+$/,
    ours: '1000,30000',
    why: 'RabbitMQ offers what the client asked for, the other way round; ours says what it can do and wants, whatever the client says, as the specification has it',
  },
  {
    field: 'receipt-id',
    when: (theirs, ours) => error(theirs, ours) && ours['receipt-id'] !== undefined,
    theirs: undefined,
    ours: (value) => value !== undefined,
    why: 'an ERROR says which frame it is about (specification, ERROR)',
  },
  {
    field: 'version',
    when: (theirs, ours) => error(theirs, ours) && ours.version === undefined,
    theirs: '1.0,1.1,1.2',
    ours: undefined,
    why: 'versions are of interest when none is common, and then ours lists them too',
  },
  {
    field: 'content-type',
    when: error,
    theirs: 'text/plain',
    ours: 'text/plain;charset=utf-8',
    why: 'stompit for Node dies of an ERROR whose type is text/plain and nothing else (stomp-clients.test.mjs)',
  },
  {
    field: '',
    when: (theirs, _, step) => step.endsWith(', then') && theirs === 'open',
    theirs: 'open',
    ours: 'end',
    why: 'after an ERROR the connection closes (specification, ERROR); clients reconnect only then',
  },
  {
    field: 'redelivered',
    when: (theirs, ours) => message(theirs, ours) && theirs.redelivered === 'false',
    theirs: 'false',
    ours: undefined,
    why: 'said where it is so, not on every message',
  },
  {
    field: 'content-length',
    when: (theirs, ours) => message(theirs, ours) && theirs.body === '' && ours.body === '',
    theirs: undefined,
    ours: '0',
    why: 'every MESSAGE has a length, an empty one too (specification: SHOULD)',
  },
  {
    field: 'receipt',
    when: (theirs, ours) => message(theirs, ours) && theirs.receipt !== undefined,
    theirs: (value) => value !== undefined,
    ours: undefined,
    why: 'what is between a sender and its server is no business of receivers',
  },
];

const ALL = ['1.0', '1.1', '1.2'];
/** Cases of one name in several versions. */
const versions = (name, list = ALL) => list.map((version) => `${name}, ${version}`);

/** Ours says ERROR and closes, where RabbitMQ does or says `theirs`. */
const refused = (cases, theirs, why, { step = 'answer', lost = {} } = {}) => [
  { cases, steps: [step], theirs: { command: theirs }, ours: { command: 'ERROR' }, why },
  { cases, steps: [`${step}, then`], theirs: undefined, ours: 'end', why },
  ...Object.entries(lost).map(([later, command]) => ({ cases, steps: [later], theirs: { command }, ours: { command: undefined }, why })),
];

/** Ours does it, where RabbitMQ says ERROR. */
const accepted = (cases, why, { command = 'RECEIPT', step = 'answer', more = {} } = {}) => [
  { cases, steps: [step], theirs: { command: 'ERROR' }, ours: { command }, why },
  { cases, steps: [`${step}, then`], theirs: 'open', ours: undefined, why },
  ...Object.entries(more).map(([later, ours]) => {
    const theirs = ours?.command ? { command: undefined } : undefined;
    return { cases, steps: [later], theirs, ours, why };
  }),
];

/** How a header comes to a receiver. */
const header = (cases, steps, field, theirs, ours, why) => [{ cases, steps, theirs: { [field]: theirs }, ours: { [field]: ours }, why }];

const NO_ESCAPES = '1.0 knows no escapes (specification 1.0; in 1.1 and 1.2, "Value Encoding" is new)';
const LINES = 'what would end a header line and has no escape in the version of the receiver becomes a space';
const STRICT = 'the specification has no such frame: refused with a word rather than guessed at, or dropped in silence';

/** Single differences: the cases, the steps, what differs on either side, and why. */
export const DIFFERENCES = [
  // Connecting.
  ...accepted(['connecting: a host of no such name'], 'protocols.md: any host name is as good as another', { command: 'CONNECTED' }),
  ...accepted(['connecting: a login that nobody configured'], 'until users are configured any login is accepted', { command: 'CONNECTED' }),
  ...header(['connecting: a login'], ['answer'], 'user-name', undefined, 'guest', 'CONNECTED repeats the name'),
  {
    cases: ['connecting: a backslash, which is not an escape here'],
    steps: ['answer'],
    theirs: { command: 'end' },
    ours: { command: 'CONNECTED' },
    why: 'headers of CONNECT are not unescaped (specification, Value Encoding)',
  },
  ...refused(['connecting: twice'], 'end', 'RabbitMQ closes without a word'),

  // What goes through.
  ...header(
    ['topic', 'queue'].flatMap((kind) => versions(`through a ${kind}: headers and bodies`)),
    ['repeated headers'],
    'dup (again)',
    undefined,
    'third',
    'repeats stand as they came, the first counts (specification, Repeated Header Entries)',
  ),
  ...['topic', 'queue'].flatMap((kind) => [
    ...header([`through a ${kind}: headers and bodies, 1.0`], ['colons in a value'], 'url', 'http\\c//localhost\\c1/a\\cb', 'http://localhost:1/a:b', NO_ESCAPES),
    ...header(
      [`through a ${kind}: headers and bodies, 1.0`],
      ['a space before and after a value'],
      'space',
      'x ',
      'x',
      'spaces around a value are padding in 1.0, on both sides of it',
    ),
  ]),
  ...accepted(['through a queue: a SEND that says message-id'], 'a header that is overlooked: ids are given by the server', {
    more: { message: { command: 'MESSAGE' }, "the server's own": true },
  }),
  ...['subscription', 'ack', 'redelivered'].flatMap((name) =>
    header([`through a queue: a SEND that says ${name}`], ['message'], `${name} (again)`, /forged|<id>/, undefined, 'what the server says of a message, no sender says'),
  ),
  ...header(['receipts: odd ids, 1.0'], ['colon'], 'receipt-id', 'a\\cb', 'a:b', NO_ESCAPES),

  // Escapes, from one version to another.
  ...ALL.flatMap((to) => {
    const cases = [`escapes: 1.0 to ${to}`];
    const doubled = (value) => (to === '1.0' ? value : value.replaceAll('\\', '\\\\'));
    return [
      ...(to === '1.0'
        ? []
        : [
            ...header(cases, ['backslash'], 'odd', 'a\\\\b', doubled('a\\\\b'), NO_ESCAPES),
            ...header(cases, ['backslash and n'], 'odd', 'a\\nb', doubled('a\\nb'), NO_ESCAPES),
          ]),
      { cases, steps: ['backslash alone'], theirs: { command: 'nothing' }, ours: { command: 'MESSAGE' }, why: NO_ESCAPES },
      { cases, steps: ['left over'], theirs: undefined, ours: [], why: 'RabbitMQ ends the sender, so that nothing comes' },
    ];
  }),
  ...['1.1', '1.2'].flatMap((from) => [
    ...header([`escapes: ${from} to 1.0`], ['colon'], 'odd', 'a\\cb', 'a:b', NO_ESCAPES),
    ...header([`escapes: ${from} to 1.0`], ['newline'], 'odd', 'a\\nb', 'a b', LINES),
    ...header([`escapes: ${from} to 1.0`], ['backslash'], 'odd', 'a\\\\b', 'a\\b', NO_ESCAPES),
    ...header([`escapes: ${from} to 1.0`], ['backslash, then n'], 'odd', 'a\\\\nb', 'a\\nb', NO_ESCAPES),
  ]),
  ...['1.0', '1.1'].flatMap((to) =>
    header([`escapes: 1.2 to ${to}`], ['return'], 'odd', 'a\\rb', 'a\rb', 'there is no such escape before 1.2, and CR ends no line there'),
  ),
  ...header(['escapes: 1.2 to 1.0'], ['all'], 'odd', '\\c\\n\\\\\\r', ': \\\r', NO_ESCAPES),
  ...header(['escapes: 1.2 to 1.1'], ['all'], 'odd', '\\c\\n\\\\\\r', '\\c\\n\\\\\r', 'there is no such escape before 1.2, and CR ends no line there'),

  // Malformed frames.
  ...refused(
    [
      'a header without a colon',
      'a length that is no number',
      'a negative length',
      'an empty length',
      'more body than its length',
    ].flatMap((name) => versions(`malformed: ${name}`)),
    'end',
    'RabbitMQ closes without a word; ours says what was wrong',
  ),
  ...refused(
    [
      ...['an unknown escape', 'an escape cut short'].flatMap((name) => versions(`malformed: ${name}`, ['1.1', '1.2'])),
      'malformed: CR in a line, 1.2',
    ],
    'end',
    'RabbitMQ closes without a word; ours says what was wrong',
  ),
  ...refused(versions('malformed: a header without a name'), 'RECEIPT', STRICT),
  ...refused(versions('malformed: a length with a sign'), 'RECEIPT', STRICT),
  ...refused(versions('malformed: a SUBSCRIBE with a body'), 'RECEIPT', 'only SEND, MESSAGE and ERROR have bodies (specification, Bodies)'),
  ...refused(['a length beyond all bounds', 'nothing but a command'].flatMap((name) => versions(`malformed: ${name}`)), 'nothing', STRICT),
  ...[...versions('malformed: an unknown escape', ['1.0']), 'malformed: an escape cut short, 1.0'].map((name) => ({
    cases: [name],
    steps: ['answer'],
    theirs: { command: 'end' },
    ours: { command: 'RECEIPT' },
    why: NO_ESCAPES,
  })),
  ...versions('malformed: CR in a line', ['1.0', '1.1']).map((name) => ({
    cases: [name],
    steps: ['answer'],
    theirs: { command: 'end' },
    ours: { command: 'RECEIPT' },
    why: 'CR ends no line before 1.2',
  })),

  // Destinations and subscriptions.
  ...accepted(
    ['SEND', 'SUBSCRIBE'].flatMap((command) => [`destinations: ${command} /topic/~/b`, `destinations: ${command} /queue/~/b`]),
    'a name may have several parts, split at ":", "." or "/"; RabbitMQ wants "/" as %2F',
  ),
  ...refused(['destinations: SEND ~', 'destinations: SUBSCRIBE ~'], 'RECEIPT', 'RabbitMQ takes a name without a prefix for a queue; ours lists the prefixes'),
  ...refused(
    ['destinations: SEND to a pattern, *', 'destinations: SEND to a pattern, #'],
    'RECEIPT',
    'a message goes to a name; RabbitMQ takes the pattern for one, which no pattern matches',
  ),
  ...refused(
    ['destinations: SUBSCRIBE to a queue named like a pattern, *', 'destinations: SUBSCRIBE to a queue named like a pattern, #'],
    'RECEIPT',
    'who writes it expects several queues, and would wait for ever; RabbitMQ makes a queue of that name',
  ),
  ...refused(['patterns: a.#.c'], 'RECEIPT', '# stands at the end only; RabbitMQ has it anywhere', {
    step: 'subscribed',
  }).slice(0, 1),
  ...['a.c', 'a.b.c', 'a.b.b.c'].map((name) => ({
    cases: ['patterns: a.#.c'],
    steps: [name],
    theirs: [name],
    ours: undefined,
    why: 'as above',
  })),
  ...['a.b', 'left over'].map((step) => ({ cases: ['patterns: a.#.c'], steps: [step], theirs: [], ours: undefined, why: 'as above' })),
  ...refused(versions('subscribing without an id', ['1.1', '1.2']), 'RECEIPT', 'an id is required from 1.1 on (specification, SUBSCRIBE)', {
    lost: { message: 'MESSAGE', 'unsubscribed by destination': 'RECEIPT' },
  }),
  ...header(
    ['subscribing without an id, 1.0'],
    ['message'],
    'subscription',
    undefined,
    '/topic/~-no-id',
    'the destination subscribed to stands for the id, so that a client with several knows which it is',
  ),
  {
    cases: ['queues: priority'],
    steps: ['order'],
    theirs: ['of 1', 'of 9', 'of 4', 'of 9', 'last'],
    ours: ['of 9', 'of 9', 'of 4', 'last', 'of 1'],
    why: 'every queue of ours heeds priority, RabbitMQ only those declared so; none said is 4',
  },
  {
    cases: ['a selector'],
    steps: ['got'],
    theirs: ['good 1', 'bad 3', 'good 3'],
    ours: ['good 3'],
    why: 'RabbitMQ knows no selectors, and overlooks the header',
  },
  ...refused(['a selector that is none'], 'RECEIPT', 'as above'),
  ...header(['requests: a reply to a client that has gone'], ['answer'], 'undeliverable', undefined, 'true', 'RabbitMQ drops it in silence'),

  // Acknowledgement.
  {
    cases: ['ack:client is cumulative within one subscription'],
    steps: ['left of the first'],
    theirs: [],
    ours: ['of the first'],
    why: 'an ACK is cumulative for its subscription (specification, SUBSCRIBE); RabbitMQ counts over all of the connection',
  },
  ...accepted(['acknowledging after UNSUBSCRIBE'], 'it was on its way already; what it is about is back in the queue, or with another'),
  ...['1.0', '1.1'].flatMap((version) => [
    ...refused([`ACK: another subscription, ${version}`], 'RECEIPT', 'a subscription that is named must be the one of the message'),
    ...refused([`NACK: another subscription, ${version}`], 'RECEIPT', 'a subscription that is named must be the one of the message', {
      lost: { again: 'MESSAGE' },
    }),
  ]),
  ...refused(['ACK: no subscription, 1.1'], 'RECEIPT', 'required in 1.1 (specification 1.1, ACK)'),
  ...refused(['NACK: no subscription, 1.1'], 'RECEIPT', 'required in 1.1 (specification 1.1, NACK)', { lost: { again: 'MESSAGE' } }),

  {
    cases: ['NACK with requeue:false: dead letters'],
    steps: ['dead letters'],
    theirs: [],
    ours: ['two'],
    why: 'ours has dead letters for every queue, RabbitMQ for those that ask for them when they are declared',
  },
  ...refused(['prefetch-count: negative'], 'RECEIPT', 'no number of messages; RabbitMQ takes it for none or very many'),

  // Transactions.
  ...refused(versions('BEGIN twice'), 'RECEIPT', 'one that has begun can not begin (protocols.md); RabbitMQ forgets what was in it'),
].flatMap(({ cases, ...difference }) => cases.map((name) => ({ case: name, ...difference })));
