// An ask and the path that it takes.
import { badge } from './decisions';
import { h, say, the } from './dom';
import { follow, number, span, t } from './i18n';
import { post } from './post';
import type { Explanation, Hello } from './types';

/** After the last key. */
const PAUSE = 350;

const PATHS: Record<string, (model: string, text: string) => unknown> = {
  '/api/chat': (model, text) => ({ model, messages: [{ role: 'user', content: text }] }),
  '/api/generate': (model, text) => ({ model, prompt: text }),
  '/v1/chat/completions': (model, text) => ({ model, messages: [{ role: 'user', content: text }] }),
  '/v1/completions': (model, text) => ({ model, prompt: text }),
  '/v1/responses': (model, text) => ({ model, input: text }),
  '/v1/messages': (model, text) => ({ model, max_tokens: 1024, messages: [{ role: 'user', content: text }] }),
};

let categories: string[] = [];
let shown: Explanation | null = null;
let running: AbortController | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;

type Kind = 'passed' | 'decided' | 'stopped' | 'quiet';

function step(kind: Kind, title: string, time: number | null, ...what: (Node | string | null)[]): HTMLElement {
  return h(
    'li',
    { class: kind },
    h('div', { class: 'step' }, h('h4', {}, title), time === null ? null : h('span', { class: 'mono quiet' }, span(time / 1000))),
    ...what.map((part) => (typeof part === 'string' ? h('p', {}, part) : part)),
  );
}

function scores(all: Record<string, number>): HTMLElement {
  const rows = Object.entries(all).sort((a, b) => b[1] - a[1]);
  return h(
    'ul',
    { class: 'scores' },
    ...rows.map(([label, p]) => h('li', {}, h('span', {}, label), h('meter', { min: '0', max: '1', value: String(p), 'aria-label': label }), h('span', { class: 'mono' }, number(p, 3)))),
  );
}

function steps(e: Explanation): HTMLElement[] {
  const { micros } = e;
  const by = e.decided_by;
  const rules = e.rules.map((rule) =>
    h(
      'li',
      { class: rule.name === e.rule ? 'won' : '' },
      h('b', {}, rule.name),
      rule.name === e.rule ? h('span', { class: 'pill good' }, t('path.rules.won')) : null,
      h('span', { class: 'hint' }, t('path.rules.line', { category: rule.category, priority: rule.priority, because: rule.because, at: rule.at })),
    ),
  );
  const taught = e.neighbours.map((near) => h('li', {}, h('span', { class: 'hint' }, t('path.taught', { phrase: near.phrase, label: near.label, cosine: number(near.cosine, 2) }))));
  const known = [...rules, ...taught];
  const label = e.classifier.label;
  const route =
    e.route === 'local' ? t('path.route.local') : t('path.route.upstream', { upstream: e.upstream ?? '' });
  return [
    step('passed', t('path.read'), micros.parse + micros.look, t('path.read.of', { dialect: e.dialect, words: e.words, language: e.language, turns: e.turns, model: e.model || '–' }), h('blockquote', {}, e.text)),
    step(e.guards.length ? 'stopped' : 'passed', t('path.guards'), null, e.guards.length ? t('path.guards.some', { guards: e.guards.join(', ') }) : t('path.guards.none')),
    step(by === 'hint' ? 'decided' : 'quiet', t('path.hint'), null, by === 'hint' ? t('path.hint.some', { category: e.category }) : t('path.hint.none')),
    step(by === 'rule' ? 'decided' : 'quiet', t('path.rules'), micros.rules, known.length ? h('ul', { class: 'rules' }, ...known) : t('path.rules.none')),
    step(
      by === 'classifier' ? 'decided' : 'quiet',
      t('path.classifier'),
      e.classifier.asked ? micros.classifier : null,
      label ? t('path.classifier.said', { label, p: number(e.classifier.probability ?? 0, 3) }) : null,
      h('p', { class: 'hint' }, e.classifier.why),
      e.classifier.scores ? scores(e.classifier.scores) : null,
    ),
    step(
      e.guard ? 'stopped' : 'decided',
      t('path.route'),
      micros.route,
      h('p', {}, badge(categories, e.category), ' → ', h('span', { class: `route ${e.route}` }, route)),
      e.guard ? t('path.route.guard', { guard: e.guard }) : null,
      e.rewritten_model ? t('path.route.model', { model: e.rewritten_model }) : null,
    ),
    step(
      'decided',
      t('path.answer'),
      null,
      e.answer ? h('p', {}, h('b', {}, e.answer)) : null,
      e.reply === null ? h('p', { class: 'hint' }, t('path.answer.upstream')) : h('blockquote', {}, e.reply),
    ),
  ];
}

function put(): void {
  if (!shown) return;
  const e = shown;
  const words = { category: e.category, by: t(`by.${e.decided_by}`), answer: e.answer ?? '', upstream: e.upstream ?? '' };
  const key = e.route === 'upstream' ? 'path.said.upstream' : e.answer ? 'path.said.local' : 'path.said.refused';
  say(the('ask-said'), t(key, words));
  the('ask-said').classList.remove('bad');
  the('path').replaceChildren(...steps(e));
}

async function explain(): Promise<void> {
  clearTimeout(timer);
  running?.abort();
  const mine = (running = new AbortController());
  const path = the<HTMLSelectElement>('ask-path').value;
  const whole = the<HTMLDetailsElement>('ask-whole').open ? the<HTMLTextAreaElement>('ask-body').value.trim() : '';
  const text = the<HTMLTextAreaElement>('ask-text').value;
  if (!whole && !text.trim()) return;
  const model = the<HTMLInputElement>('ask-model').value;
  const body = whole || JSON.stringify(PATHS[path]?.(model, text));
  const hint = the<HTMLSelectElement>('ask-hint').value;
  try {
    const told = await post<Explanation>(`/explain?path=${path}`, body, mine.signal, hint ? { 'x-brainstem-category': hint } : {});
    if (mine.signal.aborted) return;
    shown = told;
    put();
  } catch (error) {
    if (mine.signal.aborted) return;
    shown = null;
    the('path').replaceChildren();
    the('ask-said').classList.add('bad');
    say(the('ask-said'), t('failed', { why: error instanceof Error ? error.message : String(error) }));
  }
}

function hints(): void {
  const select = the<HTMLSelectElement>('ask-hint');
  const chosen = select.value;
  select.replaceChildren(h('option', { value: '' }, t('ask.hint.none')), ...categories.map((name) => h('option', {}, name)));
  select.value = chosen;
}

export function begin(told: Hello): void {
  if (told.categories.join() === categories.join()) return;
  categories = told.categories;
  hints();
}

export function start(): void {
  the('ask-path').replaceChildren(...Object.keys(PATHS).map((path) => h('option', {}, path)));
  const text = the<HTMLTextAreaElement>('ask-text');
  follow(() => {
    text.placeholder = t('ask.example');
    hints();
    put();
  });
  const form = the<HTMLFormElement>('ask');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!text.value && !the<HTMLDetailsElement>('ask-whole').open) text.value = t('ask.example');
    void explain();
  });
  form.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => void explain(), PAUSE);
  });
  // Enter sends, as in a chat; with shift it is a new line.
  text.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}
