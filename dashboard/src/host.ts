// The machine's panel: CPU, memory, disk and network of one host of those that report.
import { Chart } from './charts.ts';
import { byId, create, resize, setQuantity, setShare, setText } from './dom.ts';
import { byteRate, ceiling, percent, plain, size, text } from './format.ts';
import { Series, type Sample } from './series.ts';
import { byDevice, diskTraffic, external, networkTraffic, traffic } from './traffic.ts';
import type { Disk, HostMetrics, NetworkInterface } from './types.ts';

/** What is kept of a host, shown or not, so that choosing it shows its past at once. */
interface Host {
  latest: HostMetrics;
  cpu: Series;
  memory: Series;
  disk: Series;
  network: Series;
  /** Bytes that passed each interface while this page looked on: an order that does not change with every sample. */
  passed: Map<string, number>;
}

/** Rows of a card's foot; more would push the cards apart. */
const ROWS = 2;
/** Below this many bytes per second a chart's scale does not shrink, or noise looks like traffic. */
const RATE_FLOOR = 10_000;

const rateTop = (peak: number): number => ceiling(peak, RATE_FLOOR);
const rateLabel = (value: number): string => (value === 0 ? '0' : text(plain(byteRate(value))));
const percentLabel = (value: number): string => `${value}\u00a0%`;

export class HostPanel {
  private readonly hosts = new Map<string, Host>();
  private shown: string | undefined;
  private charts: Record<'cpu' | 'memory' | 'disk' | 'network', Chart> | undefined;
  private readonly select = byId<HTMLSelectElement>('host');

  constructor() {
    this.select.addEventListener('change', () => this.choose(this.select.value));
  }

  /** Takes the newest values of the host that `metrics` names. Says whether they are what is shown. */
  update(metrics: HostMetrics): boolean {
    const id = metrics.host_id;
    const host = this.hosts.get(id) ?? this.meet(id, metrics);
    host.latest = metrics;
    for (const each of metrics.network) host.passed.set(each.interface, (host.passed.get(each.interface) ?? 0) + traffic(each));
    const now = Date.now() / 1000;
    const { read, write } = diskTraffic(metrics.disk);
    const { received, sent } = networkTraffic(metrics.network);
    host.cpu.push(now, [metrics.cpu.usage_percent]);
    host.memory.push(now, [metrics.memory.used_percent]);
    host.disk.push(now, [read, write]);
    host.network.push(now, [received, sent]);
    if (id !== this.shown) return false;
    this.render(host);
    if (this.charts) for (const chart of Object.values(this.charts)) chart.tick();
    return true;
  }

  private meet(id: string, latest: HostMetrics): Host {
    const host = { latest, cpu: new Series(1), memory: new Series(1), disk: new Series(2), network: new Series(2), passed: new Map<string, number>() };
    this.hosts.set(id, host);
    this.select.replaceChildren(...[...this.hosts.keys()].sort().map((name) => new Option(name, name)));
    byId('host-choice').hidden = this.hosts.size < 2;
    if (this.shown === undefined) {
      this.shown = id;
      this.charts = this.draw(host);
    }
    this.select.value = this.shown;
    return host;
  }

  private choose(id: string): void {
    const host = this.hosts.get(id);
    if (!host || !this.charts) return;
    this.shown = id;
    this.charts.cpu.show(host.cpu);
    this.charts.memory.show(host.memory);
    this.charts.disk.show(host.disk);
    this.charts.network.show(host.network);
    this.render(host);
  }

  private current(): Host | undefined {
    return this.shown === undefined ? undefined : this.hosts.get(this.shown);
  }

  private draw(host: Host): NonNullable<HostPanel['charts']> {
    const readout = (pick: (host: Host) => Series, show: (sample: Sample, host: Host) => void) => (index: number | null) => {
      const current = this.current();
      if (current) show(pick(current).at(index), current);
    };
    return {
      cpu: new Chart(byId('cpu-chart'), host.cpu, {
        lines: ['--line-a'],
        top: () => 100,
        label: percentLabel,
        onReadout: readout((h) => h.cpu, ([usage]) => setQuantity(byId('cpu-usage'), percent(usage ?? NaN))),
      }),
      memory: new Chart(byId('mem-chart'), host.memory, {
        lines: ['--line-b'],
        top: () => 100,
        label: percentLabel,
        onReadout: readout((h) => h.memory, ([used]) => setQuantity(byId('mem-used'), percent(used ?? NaN))),
      }),
      disk: new Chart(byId('disk-chart'), host.disk, {
        lines: ['--line-a', '--line-c'],
        top: rateTop,
        label: rateLabel,
        onReadout: readout((h) => h.disk, ([read, write]) => {
          setQuantity(byId('disk-read'), byteRate(read ?? NaN));
          setQuantity(byId('disk-write'), byteRate(write ?? NaN));
        }),
      }),
      network: new Chart(byId('net-chart'), host.network, {
        lines: ['--line-a', '--line-c'],
        top: rateTop,
        label: rateLabel,
        onReadout: readout((h) => h.network, ([received, sent]) => {
          setQuantity(byId('net-rx'), byteRate(received ?? NaN));
          setQuantity(byId('net-tx'), byteRate(sent ?? NaN));
        }),
      }),
    };
  }

  /** Everything but the charts and the numbers that follow their cursor. */
  private render({ latest, passed }: Host): void {
    setText(byId('host-note'), this.hosts.size > 1 ? `one of ${this.hosts.size} that report` : latest.host_id);
    renderCpu(latest);
    renderMemory(latest);
    renderDisks(latest.disk);
    renderInterfaces(latest.network, passed);
  }
}

function renderCpu({ cpu }: HostMetrics): void {
  const load = cpu.load_average.map((value) => value.toFixed(2)).join(' ');
  setText(byId('cpu-note'), `${cpu.cores} ${cpu.cores === 1 ? 'core' : 'cores'} · load ${load}`);
  renderCores(cpu.per_core);
}

function renderMemory({ memory }: HostMetrics): void {
  setText(byId('mem-note'), `${text(size(memory.available))} available`);
  setQuantity(byId('mem-swap'), memory.swap_total > 0 ? percent((100 * memory.swap_used) / memory.swap_total) : { value: 'off', unit: '' });
  const rows = [{ name: 'used', share: memory.used / memory.total, amount: `${text(size(memory.used))} of ${text(size(memory.total))}` }];
  if (memory.swap_total > 0) {
    rows.push({ name: 'swap', share: memory.swap_used / memory.swap_total, amount: `${text(size(memory.swap_used))} of ${text(size(memory.swap_total))}` });
  }
  renderMeters(byId('mem-meters'), rows);
}

/** A bar each; as many as fit the card's rows are meters with names. */
function renderCores(usage: readonly number[]): void {
  const named = usage.length <= ROWS;
  renderMeters(byId('cpu-meters'), named ? usage.map((use, i) => ({ name: `core ${i}`, share: use / 100, amount: text(percent(use)) })) : []);
  byId('cpu-meters').hidden = !named;
  const bars = byId('cores');
  bars.hidden = named;
  resize(bars, named ? 0 : usage.length, () => create('span'));
  [...bars.children].forEach((bar, i) => {
    if (bar instanceof HTMLElement) setShare(bar, (usage[i] ?? 0) / 100);
  });
  bars.setAttribute('aria-label', `Each core's use: ${usage.map((use) => `${Math.round(use)} %`).join(', ')}`);
}

function renderDisks(disks: readonly Disk[]): void {
  const volumes = byDevice(disks).sort((a, b) => b.used_percent - a.used_percent);
  setText(byId('disk-note'), volumes.length === 1 ? '1 volume' : `${volumes.length} volumes`);
  renderMeters(
    byId('disk-meters'),
    volumes.slice(0, ROWS).map((disk) => ({
      name: disk.mountpoint,
      share: disk.used_percent / 100,
      amount: `${text(percent(disk.used_percent))} of ${text(size(disk.total))}`,
      full: disk.used_percent >= 90,
    })),
  );
}

function renderInterfaces(interfaces: readonly NetworkInterface[], passed: ReadonlyMap<string, number>): void {
  const counted = external(interfaces).sort((a, b) => (passed.get(b.interface) ?? 0) - (passed.get(a.interface) ?? 0));
  setText(byId('net-note'), counted.length === 1 ? '1 interface' : `${counted.length} interfaces`);
  const list = byId('net-flows');
  const shown = counted.slice(0, ROWS);
  resize(list, shown.length, () => create('li', '', [create('span', 'name'), create('span', 'amount')]));
  shown.forEach((each, i) => {
    const [name, amount] = list.children[i]?.children ?? [];
    if (name) setText(name, each.interface);
    if (amount) setText(amount, `↓\u00a0${text(byteRate(each.rx_bytes_per_sec))}  ↑\u00a0${text(byteRate(each.tx_bytes_per_sec))}`);
  });
}

interface Meter {
  name: string;
  /** 0 to 1. */
  share: number;
  amount: string;
  full?: boolean;
}

function renderMeters(list: HTMLElement, meters: readonly Meter[]): void {
  resize(list, meters.length, () => create('li', '', [create('span', 'name'), create('span', 'amount'), create('span', 'meter')]));
  meters.forEach(({ name, share, amount, full }, i) => {
    const [label, value, bar] = list.children[i]?.children ?? [];
    if (!label || !value || !(bar instanceof HTMLElement)) return;
    setText(label, name);
    setText(value, amount);
    setShare(bar, share);
    bar.classList.toggle('full', full ?? false);
  });
}
