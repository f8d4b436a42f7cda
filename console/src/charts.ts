// The four charts: five minutes, one point a second. Each can be read as a table, too, and says itself in words.
import uPlot from 'uplot';
import { h, say, the } from './dom';
import { clock, follow, number, span, t } from './i18n';
import { colour, onTheme } from './theme';
import type { Point } from './types';

const KEPT = 300;
const HEIGHT = 190;
/** A chart's own words are renewed this often, in points. */
const SAID = 10;

interface Line {
  name: string;
  colour: string;
  dash?: boolean;
  value: (point: Point) => number | null;
}

interface Kind {
  id: string;
  title: 'chart.categories' | 'chart.routes' | 'chart.first' | 'chart.classifier';
  note?: 'chart.first.note';
  stacked: boolean;
  milliseconds: boolean;
  lines: Line[];
}

const CATEGORY_COLOURS = ['c-fast', 'c-data', 'c-coding', 'c-reasoning', 'c-general', 'c-own'];

/** The colour of a category, by its place in the config. */
export const categoryColour = (all: string[], name: string): string =>
  CATEGORY_COLOURS[Math.min(Math.max(all.indexOf(name), 0), CATEGORY_COLOURS.length - 1)] ?? 'c-own';

function kinds(categories: string[]): Kind[] {
  const route = (name: 'local' | 'upstream'): Line => ({ name, colour: `r-${name}`, value: (p) => p.routes[name] ?? 0 });
  const first = (name: 'local' | 'upstream', which: 0 | 1): Line => ({
    name: `${name} ${which === 0 ? 'p50' : 'p99'}`,
    colour: `r-${name}`,
    dash: which === 1,
    value: (p) => p.first_byte[name]?.[which] ?? null,
  });
  const waited = (which: 0 | 1): Line => ({
    name: which === 0 ? 'p50' : 'p99',
    colour: 'c-reasoning',
    dash: which === 1,
    value: (p) => p.classifier?.[which] ?? null,
  });
  return [
    {
      id: 'categories',
      title: 'chart.categories',
      stacked: true,
      milliseconds: false,
      lines: categories.map((name) => ({ name, colour: categoryColour(categories, name), value: (p) => p.categories[name] ?? 0 })),
    },
    { id: 'routes', title: 'chart.routes', stacked: true, milliseconds: false, lines: [route('local'), route('upstream')] },
    {
      id: 'first',
      title: 'chart.first',
      note: 'chart.first.note',
      stacked: false,
      milliseconds: true,
      lines: [first('local', 0), first('local', 1), first('upstream', 0), first('upstream', 1)],
    },
    { id: 'classifier', title: 'chart.classifier', stacked: false, milliseconds: true, lines: [waited(0), waited(1)] },
  ];
}

/** 0.1, 1, 10, … as far as they are to be seen. */
function decades(low: number, high: number): number[] {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => 10 ** (from + i));
}

class Chart {
  private plot: uPlot | null = null;
  private readonly place = h('div', { class: 'plot', role: 'img' });
  private readonly legend = h('ul', { class: 'legend' });
  private readonly table = h('table', { class: 'list' });
  private readonly details = h('details', {});
  readonly figure: HTMLElement;
  private points: Point[] = [];
  private drawn = 0;

  constructor(private readonly kind: Kind) {
    const title = h('figcaption', {});
    const note = h('p', { class: 'hint' });
    const summary = h('summary', {});
    this.details.append(summary, h('div', { class: 'scroll', tabindex: '0', role: 'group' }, this.table));
    this.figure = h('figure', { class: 'card', id: `chart-${kind.id}` }, title, this.legend, this.place, kind.note ? note : null, this.details);
    this.details.addEventListener('toggle', () => this.tell());
    follow(() => {
      title.textContent = t(kind.title);
      summary.textContent = t('chart.table');
      this.details.lastElementChild?.setAttribute('aria-label', t(kind.title));
      if (kind.note) note.textContent = t(kind.note);
      this.say();
      this.make();
    });
    onTheme(() => this.make());
    new ResizeObserver(() => {
      const width = this.place.clientWidth;
      if (width > 0 && this.plot?.width !== width) this.plot?.setSize({ width, height: HEIGHT });
    }).observe(this.place);
  }

  draw(points: Point[]): void {
    this.points = points;
    if (!this.plot) this.make();
    this.plot?.setData(this.data());
    this.drawn += 1;
    this.tell();
    if (this.drawn % SAID === 1) this.say();
  }

  private data(): uPlot.AlignedData {
    const rows: (number | null)[][] = this.kind.lines.map((line) => this.points.map(line.value));
    if (this.kind.stacked) {
      // From the last line up: the first one lies on top of the others.
      for (let i = rows.length - 2; i >= 0; i -= 1) {
        rows[i] = (rows[i] ?? []).map((value, at) => (value ?? 0) + (rows[i + 1]?.[at] ?? 0));
      }
    }
    return [this.points.map((point) => point.at / 1000), ...rows];
  }

  private make(): void {
    const width = this.place.clientWidth;
    if (width === 0 || this.points.length === 0) return;
    this.plot?.destroy();
    const { lines, stacked, milliseconds } = this.kind;
    const axis = { stroke: colour('quiet'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
    const value = (n: number): string => (milliseconds ? span(n) : number(n, n < 10 && n % 1 ? 1 : 0));
    const last = () => (this.points.at(-1)?.at ?? 0) / 1000;
    this.plot = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [10, 10, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: true, range: () => [last() - KEPT, last()] },
          y: milliseconds
            ? { distr: 3, range: (_, low, high) => [Math.min(low ?? 0.1, 0.1), Math.max((high ?? 10) * 1.4, 10)] }
            : { range: (_, __, high) => [0, Math.max(1, (high ?? 1) * 1.1)] },
        },
        axes: [
          { ...axis, space: 70, size: 28, values: (_, at) => at.map((second) => clock(new Date(second * 1000)).slice(0, 5)), incrs: [60, 120] },
          {
            ...axis,
            size: 58,
            splits: milliseconds ? (_, __, low, high) => decades(low, high) : undefined,
            values: (_, at) => at.map(value),
          },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            stroke: colour(line.colour),
            width: stacked ? 1 : line.dash ? 1.5 : 2,
            dash: line.dash ? [5, 4] : undefined,
            fill: stacked ? colour(line.colour) : undefined,
            points: { show: milliseconds ? undefined : false, size: 4 },
          })),
        ],
      },
      this.data(),
      this.place,
    );
  }

  /** The legend's numbers, and the table if it is open. */
  private tell(): void {
    const last = this.points.at(-1);
    if (!last) return;
    const told = (line: Line, point: Point): string => {
      const value = line.value(point);
      return value == null ? '–' : this.kind.milliseconds ? span(value) : number(value, value % 1 ? 1 : 0);
    };
    const { lines } = this.kind;
    if (this.legend.childElementCount !== lines.length) {
      this.legend.replaceChildren(
        ...lines.map((line) => h('li', {}, h('span', { class: `key ${line.colour}${line.dash ? ' dash' : ''}`, 'aria-hidden': 'true' }), line.name, h('b', {}))),
      );
    }
    lines.forEach((line, i) => say(this.legend.children[i]?.lastElementChild as HTMLElement, told(line, last)));
    if (!this.details.open) return;
    const rows = this.points.slice(-10).reverse();
    this.table.replaceChildren(
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, t('chart.time')), ...lines.map((line) => h('th', { scope: 'col' }, line.name)))),
      h('tbody', {}, ...rows.map((point) => h('tr', {}, h('th', { scope: 'row' }, clock(new Date(point.at))), ...lines.map((line) => h('td', {}, told(line, point)))))),
    );
  }

  private say(): void {
    const { lines, milliseconds, title } = this.kind;
    const said = lines.map((line) => {
      const values = this.points.map(line.value).filter((value): value is number => value != null);
      if (values.length === 0 || values.every((value) => value === 0)) return null;
      const show = (n: number): string => (milliseconds ? span(n) : number(n, 1));
      return `${line.name}: ${show(values.at(-1) ?? 0)} (${show(Math.min(...values))} – ${show(Math.max(...values))})`;
    });
    const told = said.filter((line) => line !== null).join('; ') || t('chart.none');
    this.place.setAttribute('aria-label', `${t(title)}. ${told}`);
  }
}

let charts: Chart[] = [];
let points: Point[] = [];

/** Draws the past; again after each new connection. */
export function begin(categories: string[], past: Point[]): void {
  points = past.slice(-KEPT);
  if (charts.length === 0) {
    charts = kinds(categories).map((kind) => new Chart(kind));
    the('charts').replaceChildren(...charts.map((chart) => chart.figure));
  }
  charts.forEach((chart) => chart.draw(points));
}

export function add(point: Point): void {
  if ((points.at(-1)?.at ?? 0) >= point.at) return;
  points.push(point);
  if (points.length > KEPT) points.shift();
  charts.forEach((chart) => chart.draw(points));
}

/** Asks of the last five minutes by route, from the rates. */
export function lastMinutes(): { local: number; all: number } {
  const sum = (route: string): number => points.reduce((n, point) => n + (point.routes[route] ?? 0), 0);
  const local = sum('local');
  return { local, all: local + sum('upstream') };
}
