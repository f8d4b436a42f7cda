// The last decisions with the reason of each.
import { categoryColour } from './charts';
import { h, say, the } from './dom';
import { clock, follow, number, span, t } from './i18n';
import type { Decision, Hello } from './types';

const KEPT = 200;

let hello: Hello | null = null;
let decisions: Decision[] = [];
let decided = 0;
let paused = false;

/** Why it went where it went, in one line. */
function why(decision: Decision): string {
  const said = decision.classifier;
  const ms = span((said?.micros ?? 0) / 1000);
  const parts: string[] = [];
  if (decision.decided_by === 'hint') parts.push(t('why.hint'));
  if (decision.rule) parts.push(t('why.rule', { rule: decision.rule }));
  if (decision.decided_by === 'classifier' && said) {
    const key = said.outcome === 'kept' ? 'why.kept' : 'why.classifier';
    parts.push(t(key, { label: said.label ?? '', p: number(said.probability ?? 0, 2), ms }));
  } else if (decision.decided_by === 'default') {
    parts.push(t('why.default'));
    if (said) parts.push(said.outcome === 'kept' ? t('why.unsure', { ms }) : t('why.outcome', { outcome: said.outcome }));
  }
  if (decision.guard) parts.push(t('why.guard', { guard: decision.guard }));
  if (decision.answer) parts.push(t('why.answer', { answer: decision.answer }));
  return parts.join(' · ');
}

const asked = (decision: Decision): string =>
  decision.text ?? t('words', { n: number(decision.words), language: decision.language });

/** A category with its colour. */
export const badge = (categories: string[], name: string): HTMLElement =>
  h('span', { class: 'badge' }, h('span', { class: `key ${categoryColour(categories, name)}`, 'aria-hidden': 'true' }), name);

function row(decision: Decision): HTMLElement {
  const text = h('td', { class: decision.text === undefined ? 'quiet' : 'asked' }, asked(decision));
  return h(
    'tr',
    { 'data-number': String(decision.number) },
    h('td', { class: 'mono quiet' }, clock(new Date(decision.at))),
    h('td', {}, badge(hello?.categories ?? [], decision.category)),
    h('td', {}, h('span', { class: `route ${decision.route}` }, decision.route)),
    h('td', { class: 'why' }, why(decision)),
    text,
  );
}

function put(): void {
  const rows = the('decisions-rows');
  const wanted = the<HTMLInputElement>('filter').value.trim().toLowerCase();
  const fits = (d: Decision): boolean =>
    !wanted || [d.category, d.route, d.decided_by, d.id, why(d), asked(d)].some((text) => text.toLowerCase().includes(wanted));
  const shown = decisions.filter(fits).reverse();
  const key = `${document.documentElement.lang} ${wanted}`;
  if (rows.dataset.key !== key) {
    rows.dataset.key = key;
    rows.replaceChildren();
  }
  // Only what is new is made; what stands there stays, with the reader's selection.
  const standing = Number((rows.firstElementChild as HTMLElement | null)?.dataset.number ?? 0);
  const fresh = shown.filter((decision) => decision.number > standing);
  if (shown.length === 0) {
    rows.replaceChildren(h('tr', {}, h('td', { colspan: '5', class: 'quiet' }, t('decisions.none'))));
  } else {
    if (standing === 0) rows.replaceChildren();
    rows.prepend(...fresh.map(row));
    while (rows.childElementCount > shown.length) rows.lastElementChild?.remove();
  }
  say(the('decisions-count'), t('decisions.count', { shown: number(shown.length), all: number(decided) }));
  const notice = the('no-text');
  notice.hidden = hello?.text !== false;
  say(notice, t('decisions.notext'));
}

export function begin(told: Hello): void {
  if (hello) the('decisions-rows').dataset.key = '';
  hello = told;
  decisions = told.decisions;
  decided = decisions.at(-1)?.number ?? 0;
  if (!paused) put();
}

export function add(fresh: Decision[], count: number): void {
  const last = decisions.at(-1)?.number ?? 0;
  decisions = [...decisions, ...fresh.filter((decision) => decision.number > last)].slice(-KEPT);
  const news = count !== decided;
  decided = count;
  if (news && !paused) put();
}

export function start(): void {
  const pause = the<HTMLButtonElement>('pause');
  const label = (): void => {
    pause.textContent = t(paused ? 'decisions.resume' : 'decisions.pause');
    pause.setAttribute('aria-pressed', String(paused));
  };
  pause.addEventListener('click', () => {
    paused = !paused;
    label();
    if (!paused) put();
  });
  the('filter').addEventListener('input', put);
  follow(() => {
    label();
    if (hello) put();
  });
}
