// Follows channels of Stentor with @stomp/stompjs, over as many connections as it takes: subscribes on each, resumes by
// cursor, tells gaps, and puts values together from patches. The client is the page's: its settings, its activation.
//
// To go on after a reload of the page, the cursor is kept where the page keeps what it has shown so far:
//   const tasks = follow(client, '/topic/task-events', { cursor: sessionStorage.tasks, onMessage });
//   addEventListener('pagehide', () => (sessionStorage.tasks = tasks.cursor ?? ''));

/** Subscribes to `destination` now, if `client` is connected, and whenever it connects. To be called once, not in `onConnect`. */
export function follow(client, destination, options = {}) {
  const { onValue, onMessage, onGap } = options;
  const headers = {
    ...options.headers,
    ...(options.fields && { fields: String(options.fields) }),
    ...(options.maxRate && { 'max-rate': options.maxRate }),
    ...(options.delta && { delta: 'merge-patch' }),
    ...(options.history !== undefined && { history: String(options.history) }),
  };
  // Each SUBSCRIBE has a new id, lest what is still under way to an earlier one be taken for its own.
  delete headers.id;
  /** Of each channel, the last whole value and its number. */
  const held = new Map();
  let cursor = options.cursor || undefined;
  let subscription;

  function subscribe() {
    held.clear();
    const asked = { ...headers };
    let heard = false;
    let told = false;
    // The gap that a subscription begins with is in its RECEIPT and in its first MESSAGE, whichever comes first.
    const tell = (found, opening) => {
      if (found.gap !== 'true' || (opening && told)) return;
      told ||= opening;
      onGap?.(found['gap-reason']);
    };
    if (cursor) asked.cursor = cursor;
    asked.receipt = `follow-${(receipts += 1)}`;
    client.watchForReceipt(asked.receipt, (receipt) => {
      if (subscription !== own) return;
      tell(receipt.headers, true);
      // Where the subscription begins: so even what comes while nothing was sent yet is not missed over a cut.
      if (!heard) cursor = receipt.headers.cursor ?? cursor;
    });
    const own = client.subscribe(
      destination,
      (message) => {
        cursor = message.headers.cursor ?? cursor;
        tell(message.headers, !heard);
        heard = true;
        // Each of the page's functions may have unsubscribed.
        if (subscription === own) onMessage?.(message);
        if (subscription === own && onValue) take(message);
      },
      asked,
    );
    subscription = own;
  }

  function take(message) {
    const { destination: channel, retain, delta, 'delta-seq': seq, 'delta-base': base } = message.headers;
    if (retain === 'clear' && message.body === '') {
      held.delete(channel);
      onValue(undefined, message);
    } else if (delta === undefined) {
      onValue(read(message.body), message);
    } else {
      const last = held.get(channel);
      if (delta === 'patch' && (!last || last.seq !== base)) {
        // What was patched is not here. A new subscription starts with whole values.
        subscription.unsubscribe();
        subscribe();
        return;
      }
      const value = delta === 'patch' ? mergePatch(last.value, JSON.parse(message.body)) : read(message.body);
      held.set(channel, { value, seq });
      // A copy, since the page may change what it is given, and the next patch needs it unchanged.
      onValue(structuredClone(value), message);
    }
  }

  function cutOff({ headers: { message, subscription: id, cursor: last }, body }) {
    if (message !== 'slow consumer' || !subscription) return;
    const prefix = `${subscription.id} `;
    const line = body.split('\n').find((text) => text.startsWith(prefix));
    // A cursor that came with a MESSAGE is of what the page has seen, and stays.
    cursor ??= id === subscription.id ? last : line?.slice(prefix.length).trim();
  }

  const followed = { subscribe, cutOff };
  const all = followsOf(client).add(followed);
  if (isUp(client)) subscribe();
  return {
    /** Of the last MESSAGE, or of where the subscription began, or else the one given; undefined if there is none. */
    get cursor() {
      return cursor;
    },
    unsubscribe() {
      all.delete(followed);
      if (isUp(client)) subscription?.unsubscribe();
      subscription = undefined;
    },
  };
}

/** `target` patched by RFC 7396. Changes neither, and shares with both. */
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  // By way of a Map, `__proto__` and `constructor` are names like any other.
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, mergePatch(members.get(name), value));
  }
  return Object.fromEntries(members);
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isUp = (client) => client.connected && client.active;
const clients = new WeakMap();
let receipts = 0;

function read(body) {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

/** What is followed on `client`, which is told of each connection and ERROR from the first time on. */
function followsOf(client) {
  if (!clients.has(client)) {
    const all = new Set();
    clients.set(client, all);
    before(client, 'onConnect', () => all.forEach(({ subscribe }) => subscribe()));
    before(client, 'onStompError', (frame) => all.forEach(({ cutOff }) => cutOff(frame)));
  }
  return clients.get(client);
}

/** Has `action` go before the handler `name`, be it set already or later, as CompatClient's `connect` does. */
function before(client, name, action) {
  let handler = client[name];
  let last;
  Object.defineProperty(client, name, {
    configurable: true,
    enumerable: true,
    get() {
      const then = handler;
      return (frame) => {
        // A handler that calls the one it replaced comes here twice.
        if (frame !== last) action((last = frame));
        return then?.call(client, frame);
      };
    },
    set(value) {
      handler = value;
    },
  });
}
