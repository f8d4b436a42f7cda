// Rules that are not saved yet, against what was asked.
import { badge } from './decisions';
import { h, say, the } from './dom';
import { follow, number, t } from './i18n';
import { post } from './post';
import type { Decision, Found, Hello, Way } from './types';

const EXAMPLE = `[[rule]]
name = "contracts"
category = "reasoning"
priority = 55
any = ["contract*", "договор*"]
`;
/** So many rows are shown. */
const SHOWN = 200;

let hello: Hello | null = null;
let withText = 0;
let found: Found | null = null;
let chosen = false;

function way(way: Way): HTMLElement {
  const where = way.refused ? t('refused') : way.route === 'local' ? `local · ${way.answer ?? ''}` : [way.upstream, way.model].filter(Boolean).join(' · ');
  const why = [way.rule ?? way.decided_by, way.guard].filter(Boolean).join(' · ');
  return h('td', {}, badge(hello?.categories ?? [], way.category), h('div', { class: 'hint' }, `${where} (${why})`));
}

type Moved = Found['moved'][number];

/** What was asked many times is one line. */
function groups(found: Found): Map<string, { moved: Moved; times: number }> {
  const groups = new Map<string, { moved: Moved; times: number }>();
  for (const moved of found.moved) {
    const key = JSON.stringify([moved.text, moved.before, moved.after]);
    const group = groups.get(key);
    if (group) group.times += 1;
    else groups.set(key, { moved, times: 1 });
  }
  return groups;
}

/** Puts the cursor where a problem is. */
function go(line: number, col: number): void {
  const area = the<HTMLTextAreaElement>('rule-text');
  const lines = area.value.split('\n');
  const at = lines.slice(0, line - 1).reduce((n, text) => n + text.length + 1, 0) + col - 1;
  area.focus();
  area.setSelectionRange(at, at + Math.max(1, (lines[line - 1]?.length ?? 0) - col + 1));
}

function put(): void {
  const table = the<HTMLTableElement>('moved');
  const problems = the('rule-problems');
  table.hidden = true;
  problems.replaceChildren();
  the('rule-text').toggleAttribute('aria-invalid', found?.ok === false);
  if (!found) return;
  const said = the('rule-said');
  said.classList.toggle('bad', !found.ok);
  if (!found.ok) {
    say(said, t('moved.bad', { n: number(found.problems.length) }));
    problems.replaceChildren(
      ...found.problems.map((problem) => {
        const where = problem.line > 0 ? `${problem.line}:${problem.col}` : '';
        if (!problem.here) return h('li', {}, `${t('moved.elsewhere', { file: problem.file })} ${where} ${problem.message}`);
        const jump = h('button', { type: 'button', class: 'link mono' }, where);
        jump.addEventListener('click', () => go(problem.line, problem.col));
        return h('li', {}, where ? jump : null, ` ${problem.message}`);
      }),
    );
    return;
  }
  const parts = [t('moved.said', { moved: number(found.moved.length), of: number(found.of) })];
  if (found.same_way) parts.push(t('moved.same', { n: number(found.same_way) }));
  if (found.without_text) parts.push(t('moved.without', { n: number(found.without_text) }));
  if (found.unasked) parts.push(t('moved.unasked', { n: number(found.unasked) }));
  say(said, parts.join(' '));
  table.hidden = found.moved.length === 0;
  the('moved-rows').replaceChildren(
    ...[...groups(found).values()].slice(0, SHOWN).map(({ moved, times }) => {
      const often = times > 1 ? h('span', { class: 'hint' }, ` × ${number(times)}`) : null;
      return h('tr', {}, h('td', { class: 'asked' }, moved.text, often), way(moved.before), way(moved.after));
    }),
  );
}

async function attempt(): Promise<void> {
  const button = the('rule').querySelector<HTMLButtonElement>('button[type=submit]');
  const lines = the<HTMLInputElement>('on-lines').checked;
  const file = the<HTMLInputElement>('rule-file').value.trim();
  const body = {
    rules: the<HTMLTextAreaElement>('rule-text').value,
    ...(file ? { file } : {}),
    ...(lines ? { lines: the<HTMLTextAreaElement>('rule-lines').value.split('\n') } : {}),
  };
  say(the('rule-said'), t('rule.busy'));
  if (button) button.disabled = true;
  try {
    found = await post<Found>('/try', JSON.stringify(body));
    put();
  } catch (error) {
    found = null;
    put();
    the('rule-said').classList.add('bad');
    say(the('rule-said'), t('failed', { why: error instanceof Error ? error.message : String(error) }));
  } finally {
    if (button) button.disabled = false;
  }
}

function sources(): void {
  const off = hello?.text === false;
  const last = the<HTMLInputElement>('on-last');
  last.disabled = off;
  if (!chosen) (off ? the<HTMLInputElement>('on-lines') : last).checked = true;
  say(the('on-last-text'), t('rule.last', { n: number(withText) }));
  const notice = the('rule-no-text');
  notice.hidden = !off;
  say(notice, t('rule.notext'));
}

/** The files that one could take the place of. */
async function files(): Promise<void> {
  const told = (await (await fetch('/rules')).json()) as { files: string[] };
  const dir = hello?.rules_dir.replace(/\/$/, '') ?? '';
  const names = told.files.filter((file) => file.endsWith('.toml') && file.startsWith(`${dir}/`)).map((file) => file.slice(dir.length + 1));
  the('rule-files').replaceChildren(...names.map((name) => h('option', { value: name })));
}

export function begin(told: Hello): void {
  hello = told;
  withText = told.decisions.filter((decision) => decision.text !== undefined).length;
  sources();
  files().catch(() => the('rule-files').replaceChildren());
}

export function add(fresh: Decision[]): void {
  withText = Math.min(200, withText + fresh.filter((decision) => decision.text !== undefined).length);
  if (fresh.length) sources();
}

export function start(): void {
  const text = the<HTMLTextAreaElement>('rule-text');
  text.value = EXAMPLE;
  follow(() => {
    the<HTMLTextAreaElement>('rule-lines').placeholder = t('rule.lines.example');
    sources();
    put();
  });
  the('rule').addEventListener('submit', (event) => {
    event.preventDefault();
    void attempt();
  });
  for (const id of ['on-last', 'on-lines']) the(id).addEventListener('change', () => void (chosen = true));
  the('rule-lines').addEventListener('focus', () => {
    chosen = true;
    the<HTMLInputElement>('on-lines').checked = true;
  });
}
