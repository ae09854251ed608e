// stomp.js as its users have it, over either carrier, with promises where a test has to wait.
import { randomUUID } from 'node:crypto';
import { Client, Versions } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { WebSocket } from 'ws';
import { Inbox, within } from './wait.mjs';

// What stomp.js documents for Node: it looks for a global WebSocket.
Object.assign(globalThis, { WebSocket });

export const CARRIERS = {
  sockjs: (url) => ({ webSocketFactory: () => new SockJS(`${url}/ws`, null, { transports: 'websocket' }) }),
  websocket: (url) => ({ brokerURL: `${url.replace(/^http/, 'ws')}/ws/websocket` }),
};

/**
 * A connected client, deactivated when test `t` ends. Its `inbox` of `errors` holds ERROR frames, that of `closes`
 * close events. `options` are stomp.js's own; `versions` the STOMP versions to offer.
 */
export async function connect(t, url, { over = 'sockjs', versions, ...options } = {}) {
  const client = new Client({
    ...CARRIERS[over](url),
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    ...(versions ? { stompVersions: new Versions(versions) } : {}),
    ...options,
  });
  client.errors = new Inbox();
  client.closes = new Inbox();
  t.after(() => client.deactivate({ force: true }));
  const connected = new Promise((resolve, reject) => {
    client.onConnect = (frame) => {
      options.onConnect?.(frame);
      resolve(client);
    };
    client.onStompError = (frame) => {
      client.errors.push(frame);
      reject(new Error(`ERROR ${frame.headers.message}: ${frame.body}`));
    };
    client.onWebSocketClose = (event) => {
      client.closes.push(event);
      reject(new Error(`closed before CONNECTED: ${event.code} ${event.reason}`));
    };
  });
  client.activate();
  return within(5000, connected, 'CONNECTED');
}

/** Does `action`, which sends a frame with the receipt header it is given, and waits for its RECEIPT. */
export function receipted(client, action) {
  const receipt = `r-${randomUUID()}`;
  const received = new Promise((resolve) => client.watchForReceipt(receipt, resolve));
  action(receipt);
  return within(5000, received, `the RECEIPT ${receipt}`);
}

/** Subscribes, waits for the receipt, and gives the inbox of its messages, with `unsubscribe`. */
export async function subscribe(client, destination, headers = {}) {
  const inbox = new Inbox();
  let subscription;
  await receipted(client, (receipt) => {
    subscription = client.subscribe(destination, (message) => inbox.push(message), { ...headers, receipt });
  });
  inbox.unsubscribe = () => receipted(client, (receipt) => subscription.unsubscribe({ receipt }));
  return inbox;
}

/** Publishes and waits for the receipt. */
export const publish = (client, destination, parameters = {}) =>
  receipted(client, (receipt) =>
    client.publish({ destination, ...parameters, headers: { ...parameters.headers, receipt } }),
  );

/** A destination that no other test uses. */
export const freshTopic = () => `/topic/test-${randomUUID()}`;
