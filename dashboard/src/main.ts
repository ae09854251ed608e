// Wires the page: the connection feeds the panels, and the bar at the top says how both are doing.
import './style.css';
import { ActivityPanel } from './activity.ts';
import { AnalyticsPanel } from './analytics.ts';
import { connect, type Link } from './connection.ts';
import { byId, setText } from './dom.ts';
import { setUpForm } from './form.ts';
import { age } from './format.ts';
import { HostPanel } from './host.ts';
import { NodesPanel } from './nodes.ts';
import type { HostMetrics, Metrics } from './types.ts';

/** Both channels bring a value each second: after this many seconds without one, what is shown is old. */
const STALE_AFTER = 4;
const HOST_CHANNEL = '/topic/host-metrics:';

const host = new HostPanel();
const analytics = new AnalyticsPanel();
const activity = new ActivityPanel();
const nodes = new NodesPanel();
/** When a section last got a value, by performance.now(). */
const freshness = { machine: -Infinity, events: -Infinity };
let link: Link = { state: 'connecting' };

setUpForm();
connect(
  '/ws',
  [
    {
      destination: `${HOST_CHANNEL}#`,
      onValue: (destination, value) => {
        if (value === undefined) return;
        const metrics = value as HostMetrics;
        metrics.host_id ??= destination.slice(HOST_CHANNEL.length);
        if (host.update(metrics)) freshness.machine = performance.now();
        showState();
      },
    },
    {
      destination: '/topic/metrics',
      // One object, of which little changes from second to second.
      options: { delta: true },
      onValue: (_, value) => {
        if (value === undefined) return;
        analytics.update(value as Metrics);
        freshness.events = performance.now();
        showState();
      },
    },
    {
      destination: '/topic/task-events',
      options: { history: ActivityPanel.SHOWN },
      onValue: (_, value) => activity.add(value),
      onGap: (reason) => activity.missed(reason),
    },
    { destination: '/topic/nodes', onValue: (_, value) => nodes.update(value) },
  ],
  (next) => {
    link = next;
    showState();
  },
);
setInterval(showState, 500);

function showState(): void {
  const bar = byId('link');
  bar.dataset.state = link.state;
  setText(byId('link-state'), { connecting: 'Connecting', live: 'Live', waiting: 'Reconnecting' }[link.state]);
  setText(byId('link-wait'), link.state === 'waiting' ? waitText(link.retryAt) : '');
  setText(byId('link-transport'), link.state === 'live' ? link.transport : '');
  showProblem();
  showAge();
}

const waitText = (retryAt: number): string => ` in ${Math.max(1, Math.ceil((retryAt - Date.now()) / 1000))}\u00a0s`;

function showProblem(): void {
  const problem = byId('link-problem');
  const reason = link.state === 'waiting' ? link.reason : undefined;
  problem.hidden = !reason;
  setText(problem, reason ? `The server ended the session: ${reason}` : '');
}

function showAge(): void {
  const now = performance.now();
  let newest = Infinity;
  for (const [section, at] of Object.entries(freshness)) {
    const seconds = (now - at) / 1000;
    newest = Math.min(newest, seconds);
    byId(section).dataset.fresh = at === -Infinity ? 'never' : seconds > STALE_AFTER ? 'stale' : 'yes';
  }
  const shown = byId('link-age');
  shown.dataset.stale = String(newest > STALE_AFTER);
  setText(shown, ageText(newest));
}

function ageText(seconds: number): string {
  if (seconds === Infinity) return 'no data yet';
  if (link.state !== 'live') return `last data ${age(seconds)} ago`;
  return seconds > STALE_AFTER ? `no data for ${age(seconds)}` : 'up to date';
}
