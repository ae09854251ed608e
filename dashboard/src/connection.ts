// The STOMP session over SockJS: opens it, keeps it open, says how it stands. Knows nothing of what is in the messages.
import { Client, ReconnectionTimeMode } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { follow, type FollowOptions, type GapReason } from '../../examples/stompjs/channel.mjs';

export type Link =
  | { state: 'connecting' }
  | { state: 'live'; transport: string }
  /** Not connected; `retryAt` is a time in milliseconds as of Date.now(), `reason` what the server said, if it did. */
  | { state: 'waiting'; retryAt: number; reason?: string };

export interface Channel {
  destination: string;
  /** How it is subscribed to. */
  options?: Pick<FollowOptions, 'delta' | 'history'>;
  /** Gets the destination a message was sent to, and its value; undefined when the kept one was cleared. */
  onValue: (destination: string, value: unknown) => void;
  /** Messages are missing before the next one. */
  onGap?: (reason: GapReason) => void;
}

/** Transports that need neither frames nor inline scripts, so that they work under a strict policy. */
const TRANSPORTS = ['websocket', 'xhr-streaming', 'eventsource', 'xhr-polling'];
/** What each transport has to show that it works. */
const PATIENCE = 5000;
const HEART_BEAT = 10_000;
const LONGEST_WAIT = 15_000;

/** Connects to `url` and stays connected, following `channels`. */
export function connect(
  url: string,
  channels: readonly Channel[],
  onChange: (link: Link) => void,
): void {
  // Not the same for every page, or all come back at once after a restart.
  const firstWait = 1000 + Math.random() * 500;
  let wait = firstWait;
  let reason: string | undefined;
  let socket: WebSocket;

  const client = new Client({
    webSocketFactory: () => {
      socket = new SockJS(url, null, { transports: TRANSPORTS, timeout: PATIENCE });
      return socket;
    },
    heartbeatIncoming: HEART_BEAT,
    heartbeatOutgoing: HEART_BEAT,
    // A proxy that holds responses back makes all but the last transport use their time up.
    connectionTimeout: (TRANSPORTS.length + 1) * PATIENCE,
    reconnectDelay: firstWait,
    maxReconnectDelay: LONGEST_WAIT,
    reconnectTimeMode: ReconnectionTimeMode.EXPONENTIAL,
    beforeConnect: () => onChange({ state: 'connecting' }),
    onConnect: () => {
      wait = firstWait;
      reason = undefined;
      onChange({ state: 'live', transport: (socket as Partial<{ transport: string }>).transport ?? 'websocket' });
    },
    onStompError: (frame) => {
      reason = frame.headers['message'] ?? frame.body;
    },
    // Called just before the client starts its own timer, whose length is `wait`: the client tells it to nobody.
    onWebSocketClose: () => {
      onChange({ state: 'waiting', retryAt: Date.now() + wait, ...(reason ? { reason } : {}) });
      wait = Math.min(wait * 2, LONGEST_WAIT);
    },
  });
  for (const { destination, options, onValue, onGap } of channels) {
    follow(client, destination, {
      ...options,
      onValue: (value, message) => show(() => onValue(message.headers['destination'] ?? destination, value)),
      onGap,
    });
  }
  client.activate();
}

/** One message that cannot be shown must not end the session that brought it. */
function show(value: () => void): void {
  try {
    value();
  } catch (error) {
    console.error('a message could not be shown:', error);
  }
}
