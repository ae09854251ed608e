// The events' panel: what the server says of all events it took in, as numbers, charts and rankings.
import { Chart } from './charts.ts';
import { byId, create, resize, setQuantity, setShare, setText } from './dom.ts';
import { NONE, age, ceiling, count, duration, perSecond, percent, plain, text } from './format.ts';
import { Series, type Sample } from './series.ts';
import type { Anomaly, Counts, Latency, Metrics, WindowName } from './types.ts';

const SEVERITIES = ['INFO', 'WARNING', 'ERROR', 'CRITICAL'] as const;
const RANKS = 6;
const TRENDS = { increasing: 'rising', steady: 'steady', decreasing: 'falling' } as const;

export class AnalyticsPanel {
  private readonly rate = new Series(1);
  private readonly errors = new Series(1);
  private readonly latency = new Series(3);
  private readonly charts: Chart[];

  constructor() {
    this.charts = [
      new Chart(byId('events-chart'), this.rate, {
        lines: ['--line-a'],
        top: (peak) => ceiling(peak, 1),
        label: (value) => (value === 0 ? '0' : text(plain(perSecond(value)))),
        onReadout: (index) => setQuantity(byId('rate-now'), perSecond(first(this.rate.at(index)))),
      }),
      new Chart(byId('errors-chart'), this.errors, {
        lines: ['--line-d'],
        top: (peak) => Math.min(100, ceiling(peak, 5)),
        label: (value) => `${value}\u00a0%`,
        onReadout: (index) => setQuantity(byId('errors-minute'), percent(first(this.errors.at(index)))),
      }),
      new Chart(byId('latency-chart'), this.latency, {
        lines: ['--line-b', '--line-a', '--line-c'],
        top: (peak) => ceiling(peak, 10),
        label: (value) => (value === 0 ? '0' : text(plain(duration(value)))),
        onReadout: (index) => this.showLatency(this.latency.at(index)),
      }),
    ];
  }

  /** Shows the newest metrics. */
  update(metrics: Metrics): void {
    const now = Date.now() / 1000;
    const { p50, p95, p99, sampleCount } = metrics.latencyMetrics.overall;
    const measured = sampleCount > 0;
    this.rate.push(now, [metrics.throughput.current]);
    this.errors.push(now, [metrics.timeWindows.last1Minute.errorRate]);
    this.latency.push(now, measured ? [p50, p95, p99] : [null, null, null]);
    for (const chart of this.charts) chart.tick();

    byId('empty').hidden = metrics.summary.totalEvents > 0;
    renderAnomalies(metrics.anomalies);
    renderTotals(metrics);
    renderNotes(metrics);
    renderRanking('types', metrics.eventsByType, metrics.latencyMetrics.byType, metrics.summary.uniqueEventTypes);
    renderRanking('sources', metrics.eventsBySource, metrics.latencyMetrics.bySource, metrics.summary.uniqueSources);
    renderWindows(metrics);
  }

  private showLatency([p50, p95, p99]: Sample): void {
    setQuantity(byId('latency-p50'), duration(p50 ?? NaN));
    setQuantity(byId('latency-p95'), duration(p95 ?? NaN));
    setQuantity(byId('latency-p99'), duration(p99 ?? NaN));
  }
}

const first = (sample: Sample): number => sample[0] ?? NaN;
const many = (n: number, one: string, more: string): string => `${text(count(n))} ${n === 1 ? one : more}`;

function renderTotals({ summary, eventsBySeverity }: Metrics): void {
  setQuantity(byId('total'), count(summary.totalEvents));
  byId('total').dataset.count = String(summary.totalEvents);
  setText(byId('unique-note'), summary.uniqueUsers > 0 ? many(summary.uniqueUsers, 'user', 'users') : '');
  const stack = byId('severity-stack');
  resize(stack, SEVERITIES.length, () => create('span'));
  SEVERITIES.forEach((severity, i) => {
    const events = eventsBySeverity[severity] ?? 0;
    const share = summary.totalEvents > 0 ? events / summary.totalEvents : 0;
    const [value, part] = document.querySelectorAll(`[data-severity="${severity}"] td`);
    if (value) setText(value, text(count(events)));
    if (part) setText(part, summary.totalEvents > 0 ? text(percent(100 * share)) : NONE);
    const bar = stack.children[i];
    if (!(bar instanceof HTMLElement)) return;
    bar.dataset.severity = severity;
    setShare(bar, share);
    bar.hidden = events === 0;
  });
}

function renderNotes({ throughput, errorMetrics, latencyMetrics }: Metrics): void {
  setQuantity(byId('rate-peak'), perSecond(throughput.peak));
  setQuantity(byId('rate-mean'), perSecond(throughput.avg));
  setText(byId('rate-note'), TRENDS[throughput.trend] ?? '');
  setQuantity(byId('errors-all'), percent(errorMetrics.errorRate));
  setText(byId('errors-note'), many(errorMetrics.totalErrors, 'error', 'errors'));
  const { sampleCount, max, avg } = latencyMetrics.overall;
  setText(byId('latency-note'), sampleCount > 0 ? `mean ${text(duration(avg))} · max ${text(duration(max))}` : 'no samples');
}

function renderRanking(id: 'types' | 'sources', events: Counts, latencies: Record<string, Latency>, distinct: number): void {
  const ranked = Object.entries(events)
    .sort(([nameA, a], [nameB, b]) => b - a || nameA.localeCompare(nameB))
    .slice(0, RANKS);
  const most = ranked[0]?.[1] ?? 0;
  byId(`${id}-none`).hidden = ranked.length > 0;
  setText(byId(`${id}-note`), distinct > ranked.length ? `${ranked.length} of ${text(count(distinct))}` : '');
  const body = byId(id);
  resize(body, ranked.length, makeRank);
  ranked.forEach(([name, n], i) => {
    const row = body.children[i];
    const [label, p95, total] = row?.children ?? [];
    if (!(row instanceof HTMLElement) || !label || !p95 || !total) return;
    setShare(row, n / most);
    setText(label.firstElementChild ?? label, name);
    label.setAttribute('title', name);
    setText(p95, text(duration(latencies[name]?.p95 || NaN)));
    setText(total, text(count(n)));
  });
}

function makeRank(): HTMLElement {
  const name = create('th', '', [create('span')]);
  name.scope = 'row';
  return create('tr', '', [name, create('td'), create('td')]);
}

function renderWindows({ timeWindows }: Metrics): void {
  for (const row of document.querySelectorAll<HTMLElement>('[data-window]')) {
    const window = timeWindows[row.dataset.window as WindowName];
    const [events, latency, errors] = row.querySelectorAll('td');
    if (!window || !events || !latency || !errors) continue;
    setText(events, text(count(window.events)));
    setText(latency, text(duration(window.avgLatency || NaN)));
    setText(errors, window.events > 0 ? text(percent(window.errorRate)) : NONE);
  }
}

function renderAnomalies(anomalies: readonly Anomaly[]): void {
  const list = byId('anomalies');
  list.hidden = anomalies.length === 0;
  resize(list, anomalies.length, () => create('li', '', [create('strong'), create('span'), create('span', 'since')]));
  anomalies.forEach((anomaly, i) => {
    const item = list.children[i];
    const [severity, message, since] = item?.children ?? [];
    if (!(item instanceof HTMLElement) || !severity || !message || !since) return;
    item.dataset.severity = anomaly.severity.toUpperCase();
    setText(severity, anomaly.severity.toLowerCase());
    setText(message, anomaly.message);
    setText(since, sinceText(anomaly.detectedAt));
  });
}

function sinceText(detectedAt: string): string {
  const seconds = (Date.now() - Date.parse(detectedAt)) / 1000;
  return seconds >= 1 ? `for ${age(seconds)}` : '';
}
