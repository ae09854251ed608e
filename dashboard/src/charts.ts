// Line charts of the last minutes, drawn by uPlot. Owns axes, colours and the shared cursor; what is
// drawn belongs to a Series, what the numbers mean to the panels.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { age } from './format.ts';
import type { Series } from './series.ts';

export interface ChartOptions {
  /** Custom properties that name each line's colour, as `--line-a`. */
  lines: readonly string[];
  /** The top of the scale for a greatest value in the window. */
  top: (peak: number) => number;
  /** A value of the scale as text. */
  label: (value: number) => string;
  /** Told when the numbers beside the chart should change: an index under the cursor, or null for the newest. */
  onReadout: (index: number | null) => void;
}

const FONT = '11px system-ui, sans-serif';
const CURSOR = uPlot.sync('stentor');
const charts = new Set<Chart>();
/** Measures labels; a plot's own context is not to be touched between its drawings. */
const ruler = document.createElement('canvas').getContext('2d');
let colours: CSSStyleDeclaration | undefined;

const colour = (property: string): string => {
  colours ??= getComputedStyle(document.documentElement);
  return colours.getPropertyValue(property).trim();
};

for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)']) {
  matchMedia(query).addEventListener('change', () => charts.forEach((chart) => chart.repaint()));
}

export class Chart {
  private readonly plot: uPlot;
  private frame = 0;
  private ticks = 0;
  private hovered: number | null = null;

  constructor(
    private readonly element: HTMLElement,
    private series: Series,
    private readonly options: ChartOptions,
  ) {
    this.plot = new uPlot(this.config(), this.data(), element);
    CURSOR.sub(this.plot);
    charts.add(this);
    new ResizeObserver(() => this.plot.setSize(this.extent())).observe(element);
    element.dataset.ticks = '0';
  }

  /** Says that the series has a new sample. Drawn with the next frame, so a hidden page draws nothing. */
  tick(): void {
    this.ticks += 1;
    this.element.dataset.ticks = String(this.ticks);
    this.schedule();
  }

  /** Shows another series from now on. */
  show(series: Series): void {
    this.series = series;
    this.schedule();
  }

  /** Draws again with the colours of now. */
  repaint(): void {
    this.plot.redraw(false, true);
  }

  private schedule(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.plot.setData(this.data());
      this.showHovered();
    });
  }

  private data(): uPlot.AlignedData {
    return [this.series.times, ...this.series.columns];
  }

  private extent(): { width: number; height: number } {
    return { width: Math.max(1, this.element.clientWidth), height: Math.max(1, this.element.clientHeight) };
  }

  private hover(plot: uPlot): void {
    const left = plot.cursor.left ?? -1;
    const index = left >= 0 ? (plot.cursor.idx ?? null) : null;
    if (index === this.hovered) return;
    this.hovered = index;
    this.showHovered();
  }

  private showHovered(): void {
    const at = this.hovered === null ? undefined : this.series.times[this.hovered];
    if (at === undefined) delete this.element.dataset.ago;
    else this.element.dataset.ago = `${age(this.newest() - at)} ago`;
    this.options.onReadout(this.hovered);
  }

  private newest(): number {
    return this.series.times.at(-1) ?? Date.now() / 1000;
  }

  private config(): uPlot.Options {
    const { lines, top, label } = this.options;
    const newest = () => this.newest();
    const grid = { stroke: () => colour('--grid'), width: 1 };
    const axis = { stroke: () => colour('--muted'), font: FONT, ticks: { show: false } };
    return {
      ...this.extent(),
      padding: [8, 14, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 7 },
        sync: { key: CURSOR.key },
      },
      scales: {
        x: { time: false, range: () => [newest() - this.series.span(), newest()] },
        y: { range: () => [0, top(this.series.peak())] },
      },
      axes: [
        {
          ...axis,
          grid,
          size: 22,
          gap: 6,
          splits: () => [1, 0.75, 0.5, 0.25, 0].map((part) => newest() - part * this.series.span()),
          values: () => timeLabels(this.series.span()),
        },
        {
          ...axis,
          grid,
          size: (_, values) => axisWidth(values),
          gap: 8,
          splits: (_, __, ___, max) => [0, max / 2, max],
          values: (_, splits) => splits.map(label),
        },
      ],
      series: [
        {},
        ...lines.map((line, i): uPlot.Series => ({
          stroke: () => colour(line),
          width: 1.6,
          points: { show: false },
          ...(i === 0 ? { fill: () => colour(`${line}-fill`) } : {}),
        })),
      ],
      hooks: { setCursor: [(plot) => this.hover(plot)] },
    };
  }
}

/** Labels for five marks from `span` seconds ago to now. */
function timeLabels(span: number): string[] {
  const ago = (seconds: number) => `\u2212${age(seconds).replace(' ', '\u00a0')}`;
  return [ago(span), '', ago(span / 2), '', 'now'];
}

/** Room for the longest label, and never so little that the charts of one row start at different places. */
function axisWidth(labels: readonly string[] | null): number {
  if (ruler) ruler.font = FONT;
  const widest = Math.max(0, ...(labels ?? []).map((label) => ruler?.measureText(label).width ?? 0));
  return Math.max(48, Math.ceil(widest) + 14);
}
