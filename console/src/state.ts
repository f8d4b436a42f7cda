// Tiles and tables of the state of things, from each event.
import { lastMinutes } from './charts';
import { facts, h, say, the } from './dom';
import { age, clock, follow, number, size, span, t } from './i18n';
import type { Hello, Now } from './types';

let hello: Hello | null = null;
let now: Now | null = null;

const percent = (part: number, all: number): string => (all > 0 ? `${number((part / all) * 100, part === all ? 0 : 1)} %` : '–');

function tiles(now: Now): void {
  const rate = Object.values(now.point.routes).reduce((a, b) => a + b, 0);
  const sums = { local: 0, all: 0 };
  for (const routes of Object.values(now.asks)) {
    sums.local += routes['local'] ?? 0;
    sums.all += Object.values(routes).reduce((a, b) => a + b, 0);
  }
  const recent = lastMinutes();
  const first = (route: string): [string, string] => {
    const pair = now.point.first_byte[route];
    return pair ? [span(pair[0]), t('tile.sub.p99', { n: span(pair[1]) })] : ['–', ''];
  };
  const share = recent.all > 0 ? percent(recent.local, recent.all) : percent(sums.local, sums.all);
  const told: [string, string, string][] = [
    [t('tile.rate'), number(rate, rate < 10 && rate % 1 ? 1 : 0), t('tile.rate.sub', { n: number(sums.all) })],
    [t('tile.share'), share, t('tile.share.sub', { n: percent(sums.local, sums.all) })],
    [t('tile.local'), ...first('local')],
    [t('tile.upstream'), ...first('upstream')],
    [t('tile.inflight'), number(now.inflight), t('tile.inflight.sub', { n: age(now.uptime) })],
    [t('tile.classifier'), now.classifier.state, now.point.classifier ? span(now.point.classifier[0]) : ''],
  ];
  const list = the('tiles');
  if (list.childElementCount !== told.length) {
    list.replaceChildren(...told.map(() => h('div', {}, h('dt', {}), h('dd', {}), h('dd', { class: 'sub' }))));
  }
  told.forEach((texts, i) => texts.forEach((text, j) => say(list.children[i]?.children[j] as HTMLElement, text)));
}

type Upstream = Now['upstreams'][number];
type Server = Upstream['servers'][number];

function upstreams(now: Now): void {
  const table = the('upstreams');
  const key = JSON.stringify([now.upstreams, t('upstreams.name')]);
  if (table.dataset.now === key) return;
  table.dataset.now = key;
  const tags = (names: string[]): HTMLElement => h('ul', { class: 'tags' }, ...names.map((name) => h('li', {}, name)));
  const head = [t('upstreams.name'), t('upstreams.url'), t('upstreams.state'), t('upstreams.inflight'), t('upstreams.loaded'), t('upstreams.models')];
  const known = (names: string[] | null): Node | string =>
    names === null ? t('upstreams.unknown') : names.length ? tags(names) : t('upstreams.nothing');
  const state = (server: Server): HTMLElement => {
    if (!server.up) return h('span', { class: 'pill bad' }, t('upstreams.down'));
    return server.cooling ? h('span', { class: 'pill warn' }, t('upstreams.cooling')) : h('span', { class: 'pill good' }, t('upstreams.up'));
  };
  const row = (upstream: Upstream, server: Server, at: number): HTMLElement => {
    const span = String(upstream.servers.length);
    return h(
      'tr',
      { class: at > 0 ? 'more' : '' },
      at === 0 ? h('th', { scope: 'rowgroup', rowspan: span }, upstream.name) : null,
      h('td', { class: 'mono' }, server.name),
      h('td', {}, state(server)),
      h('td', {}, number(server.inflight)),
      h('td', {}, known(server.in_memory)),
      at === 0 ? h('td', { rowspan: span }, known(upstream.models)) : null,
    );
  };
  table.replaceChildren(
    h('thead', {}, h('tr', {}, ...head.map((name) => h('th', { scope: 'col' }, name)))),
    ...now.upstreams.map((upstream) => h('tbody', {}, ...upstream.servers.map((server, at) => row(upstream, server, at)))),
  );
}

function matrix(now: Now): void {
  const table = the('matrix');
  const key = JSON.stringify([now.changes, t('matrix.none')]);
  if (table.dataset.now === key) return;
  table.dataset.now = key;
  const names = (side: 'from' | 'to'): string[] => [...new Set(now.changes.map((change) => change[side]))].sort();
  if (now.changes.length === 0) {
    table.replaceChildren(h('tbody', {}, h('tr', {}, h('td', { class: 'quiet' }, t('matrix.none')))));
    return;
  }
  const count = (from: string, to: string): number => now.changes.find((change) => change.from === from && change.to === to)?.count ?? 0;
  table.replaceChildren(
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, t('matrix.from')), ...names('to').map((to) => h('th', { scope: 'col' }, to)))),
    h(
      'tbody',
      {},
      ...names('from').map((from) =>
        h('tr', {}, h('th', { scope: 'row' }, from), ...names('to').map((to) => h('td', { class: count(from, to) ? 'some' : 'quiet' }, number(count(from, to))))),
      ),
    ),
  );
}

function put(): void {
  if (!now || !hello) return;
  tiles(now);
  upstreams(now);
  matrix(now);
  const { rules, classifier, point } = now;
  facts(the('rules-facts'), [
    [t('rules.generation'), number(rules.generation)],
    [t('rules.loaded'), `${new Date(rules.loaded_at).toLocaleDateString(document.documentElement.lang, { dateStyle: 'medium' })} ${clock(new Date(rules.loaded_at))}`],
    [t('rules.count'), t('rules.count.of', { rules: number(rules.rules), answers: number(rules.answers), phrases: number(rules.phrases) })],
    [t('rules.reloads'), t('rules.reloads.of', { ok: number(rules.reloads['ok'] ?? 0), refused: number(rules.reloads['refused'] ?? 0) })],
    [t('rules.error'), rules.last_error.length ? h('ul', { class: 'problems' }, ...rules.last_error.map((line) => h('li', {}, line))) : t('rules.error.none')],
  ]);
  const broken = the('rules-error');
  broken.hidden = rules.last_error.length === 0;
  say(broken, rules.last_error.length ? t('rules.broken', { what: rules.last_error.join(' · ') }) : '');
  const outcomes = Object.entries(now.outcomes).filter(([, n]) => n > 0);
  facts(the('classifier-facts'), [
    [t('classifier.mode'), hello.classifier],
    [t('classifier.state'), [h('span', { class: `pill ${classifier.up ? 'good' : 'quiet'}` }, classifier.state), h('span', { class: 'hint' }, classifier.detail)]],
    [t('classifier.outcomes'), outcomes.length ? outcomes.map(([name, n]) => `${name} ${number(n)}`).join(', ') : '–'],
    [t('classifier.wait'), point.classifier ? point.classifier.map(span).join(' / ') : '–'],
  ]);
  const { active = 0, cache = 0, peak = 0 } = now.memory;
  const bar = h('meter', { min: '0', max: String(Math.max(peak, 1)), value: String(active), 'aria-label': t('memory.active') });
  facts(the('memory-facts'), [
    [t('memory.active'), [size(active), ' ', bar]],
    [t('memory.cache'), size(cache)],
    [t('memory.peak'), size(peak)],
  ]);
}

export function begin(told: Hello): void {
  hello = told;
  say(the('version'), `${told.version} · MLX ${told.mlx}`);
}

export function add(told: Now): void {
  now = told;
  put();
}

export const start = (): void => follow(put);
