import type { Client, IMessage, StompHeaders } from '@stomp/stompjs';

/** Why messages are missing: history no longer reaches back, the log was begun anew, or the cursor means nothing here. */
export type GapReason = 'trimmed' | 'lost' | 'unknown';

export interface FollowOptions<T = unknown> {
  /** Further headers for SUBSCRIBE, such as `selector`. */
  headers?: (StompHeaders & { id?: never; receipt?: never; cursor?: never }) | undefined;
  /** Only these members of each value, as `summary` or `throughput.current`. */
  fields?: string | readonly string[] | undefined;
  /** At most so many values in so many seconds, as `1/5s`. Snapshots only. */
  maxRate?: `${number}/${number}s` | undefined;
  /** Has values come as patches, which are put together before `onValue` sees them. Snapshots only. */
  delta?: boolean | undefined;
  /** The last so many messages of each channel first. Ignored where there is a cursor. */
  history?: number | undefined;
  /** Where to go on, as `cursor` of an earlier `Follow` to this destination said. Empty is none. */
  cursor?: string | null | undefined;
  /**
   * Each value: parsed if it is JSON, else as text; undefined when the kept one was cleared. It is the caller's to keep and to
   * change. Of a pattern, `message.headers.destination` names the channel.
   */
  onValue?: ((value: T | undefined, message: IMessage) => void) | undefined;
  /** Each MESSAGE as it came, before `onValue`. */
  onMessage?: ((message: IMessage) => void) | undefined;
  /** Messages are missing before the next one. Called once for each gap. */
  onGap?: ((reason: GapReason) => void) | undefined;
}

export interface Follow {
  /** Of the last MESSAGE that had one, or of where the subscription began, or else the one given. */
  readonly cursor: string | undefined;
  /** Ends it, on this connection and later ones. */
  unsubscribe(): void;
}

/** Subscribes to `destination` now, if `client` is connected, and whenever it connects. To be called once, not in `onConnect`. */
export function follow<T = unknown>(client: Client, destination: string, options?: FollowOptions<T>): Follow;

/** `target` patched by RFC 7396. Changes neither, and shares with both. */
export function mergePatch(target: unknown, patch: unknown): unknown;
