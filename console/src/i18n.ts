// The page's words in both languages. Names of categories, rules, routes and guards stay as they are in the config.
import { the } from './dom';

const en = {
  skip: 'Skip to the numbers',
  nav: 'On this page',
  'nav.now': 'Now',
  'nav.decisions': 'Decisions',
  'nav.playground': 'Playground',
  'nav.trial': 'Try a rule',
  'link.on': 'live',
  'link.wait': 'connecting',
  'link.off': 'no connection',
  'theme.auto': 'Theme: system',
  'theme.light': 'Theme: light',
  'theme.dark': 'Theme: dark',
  'language.other': 'Русский',
  'now.title': 'Now',
  'state.title': 'State',
  'tile.rate': 'Asks a second',
  'tile.rate.sub': '{n} since the start',
  'tile.share': 'Answered locally',
  'tile.share.sub': '{n} since the start',
  'tile.local': 'First byte, local',
  'tile.upstream': 'First byte, upstream',
  'tile.sub.p99': 'p99 {n}',
  'tile.inflight': 'In flight',
  'tile.inflight.sub': 'up for {n}',
  'tile.classifier': 'Classifier',
  'tile.five': 'last five minutes',
  'chart.categories': 'Asks a second, by category',
  'chart.routes': 'Asks a second, by route',
  'chart.first': 'Time to first byte',
  'chart.first.note': 'half (line) and 99 of 100 (dashes) of the last 15 s, logarithmic',
  'chart.classifier': 'Waiting for the classifier',
  'chart.none': 'nothing in the last five minutes',
  'chart.table': 'As a table',
  'chart.time': 'Time',
  'upstreams.title': 'Upstreams',
  'upstreams.name': 'Name',
  'upstreams.url': 'Server',
  'upstreams.state': 'State',
  'upstreams.models': 'Models',
  'upstreams.loaded': 'In memory',
  'upstreams.inflight': 'In flight',
  'upstreams.cooling': 'left alone for a while',
  'upstreams.up': 'answers',
  'upstreams.down': 'does not answer',
  'upstreams.unknown': 'not known',
  'upstreams.nothing': 'none',
  'rules.title': 'Rules',
  'rules.generation': 'Generation',
  'rules.loaded': 'Loaded',
  'rules.count': 'Rules and answers',
  'rules.count.of': '{rules} rules, {answers} answers, {phrases} taught phrases',
  'rules.reloads': 'Reloads',
  'rules.reloads.of': '{ok} good, {refused} refused',
  'rules.error': 'Last error',
  'rules.error.none': 'none',
  'rules.broken': 'The rules on disk are broken; the last good set goes on. {what}',
  'classifier.title': 'Classifier',
  'classifier.mode': 'Mode',
  'classifier.state': 'State',
  'classifier.outcomes': 'Outcomes',
  'classifier.wait': 'Wait, half / 99 of 100',
  'matrix.title': 'What it changed',
  'matrix.from': 'from \\ to',
  'matrix.none': 'No category was changed yet.',
  'memory.title': 'MLX memory',
  'memory.active': 'In use',
  'memory.cache': 'Cached',
  'memory.peak': 'Peak',
  'decisions.title': 'The last decisions',
  'decisions.filter': 'Filter',
  'decisions.pause': 'Pause',
  'decisions.resume': 'Go on',
  'decisions.count': '{shown} shown of {all} since the start',
  'decisions.none': 'Nothing was asked yet.',
  'decisions.notext':
    'What was asked is not kept (log.decisions_text = false): words and language are shown instead. Kept texts stay in memory, are shown to whoever reaches this address, and are written only to the log of decisions.',
  'col.time': 'Time',
  'col.category': 'Category',
  'col.route': 'Route',
  'col.why': 'Why',
  'col.asked': 'Asked',
  words: '{n} {n|word|words}, {language}',
  'why.hint': 'the client named the category',
  'why.rule': 'rule {rule}',
  'why.classifier': 'classifier: {label} {p}, {ms}',
  'why.default': 'no rule matched',
  'why.unsure': 'classifier not sure, {ms}',
  'why.kept': 'classifier agreed, {ms}',
  'why.outcome': 'classifier: {outcome}',
  'why.guard': 'kept from a local answer: {guard}',
  'why.answer': 'answer {answer}',
  'playground.title': 'Playground',
  'playground.lead': 'What would happen to an ask, and why. No upstream is called.',
  'ask.text': 'Message',
  'ask.path': 'Path',
  'ask.model': 'Model',
  'ask.hint': 'Category named by the client',
  'ask.hint.none': 'none',
  'ask.whole': 'A whole body instead',
  'ask.body': 'Body (JSON)',
  'ask.go': 'Explain',
  'ask.example': 'hello, how are you?',
  'path.title': 'The path it takes',
  'path.said.local': '{category}, by {by}: answered here, by “{answer}”.',
  'path.said.refused': '{category}, by {by}: turned away here.',
  'path.said.upstream': '{category}, by {by}: goes to {upstream}.',
  'by.hint': 'hint',
  'by.rule': 'rule',
  'by.classifier': 'classifier',
  'by.default': 'default',
  'path.read': 'Read',
  'path.read.of': '{dialect}, {words} {words|word|words}, {language}, turn {turns}, model {model}',
  'path.guards': 'Guards',
  'path.guards.none': 'nothing speaks against a local answer',
  'path.guards.some': 'against a local answer: {guards}',
  'path.hint': 'Hint',
  'path.hint.none': 'the client named no category',
  'path.hint.some': 'the client named {category}',
  'path.rules': 'Rules',
  'path.rules.none': 'none matched',
  'path.rules.won': 'won',
  'path.rules.line': '{category}, priority {priority}, {because}, {at}',
  'path.taught': 'taught: “{phrase}” is {label}, alike {cosine}',
  'path.classifier': 'Classifier',
  'path.classifier.said': '{label} {p}',
  'path.route': 'Route',
  'path.route.local': 'local',
  'path.route.upstream': 'upstream {upstream}',
  'path.route.model': 'as model {model}',
  'path.route.guard': 'kept from a local answer by {guard}',
  'path.answer': 'Answer',
  'path.answer.upstream': 'the upstream’s own words, byte for byte',
  'trial.title': 'Try a rule',
  'trial.lead': 'A rule that is not saved yet, against what was asked. The running rules are not touched.',
  'rule.text': 'Rules (TOML)',
  'rule.file': 'In place of the file (empty: beside all others)',
  'rule.on': 'Try it on',
  'rule.last': 'the last decisions ({n} with text)',
  'rule.lines': 'these lines',
  'rule.lines.label': 'Messages, one a line',
  'rule.lines.example': 'check the lease contract\nhello\nwhy is the sky blue',
  'rule.notext':
    'The last decisions cannot be decided again: their texts are not kept (log.decisions_text = false). Paste lines instead.',
  'rule.go': 'Try it',
  'rule.busy': 'Trying …',
  'moved.title': 'What it would move',
  'moved.said': 'This would move {moved} of {of}.',
  'moved.same': '{n} would be decided otherwise and go the same way.',
  'moved.without': '{n} more have no text.',
  'moved.unasked': '{n} would have to be put to the classifier, which did not answer now.',
  'moved.bad': 'The rules are not good: {n} to mend.',
  'moved.before': 'Now',
  'moved.after': 'Then',
  'moved.elsewhere': 'in {file}',
  refused: 'refused',
  foot: 'Everything here is read from this process; nothing is loaded from elsewhere.',
  failed: 'That did not work: {why}',
};

type Key = keyof typeof en;

const ru: Record<Key, string> = {
  skip: 'Сразу к цифрам',
  nav: 'На этой странице',
  'nav.now': 'Сейчас',
  'nav.decisions': 'Решения',
  'nav.playground': 'Проба',
  'nav.trial': 'Новое правило',
  'link.on': 'на связи',
  'link.wait': 'соединяюсь',
  'link.off': 'связи нет',
  'theme.auto': 'Тема: системная',
  'theme.light': 'Тема: светлая',
  'theme.dark': 'Тема: тёмная',
  'language.other': 'English',
  'now.title': 'Сейчас',
  'state.title': 'Состояние',
  'tile.rate': 'Запросов в секунду',
  'tile.rate.sub': '{n} с запуска',
  'tile.share': 'Отвечено на месте',
  'tile.share.sub': '{n} с запуска',
  'tile.local': 'Первый байт, на месте',
  'tile.upstream': 'Первый байт, сервер',
  'tile.sub.p99': 'p99 {n}',
  'tile.inflight': 'В работе',
  'tile.inflight.sub': 'работает {n}',
  'tile.classifier': 'Классификатор',
  'tile.five': 'за пять минут',
  'chart.categories': 'Запросов в секунду, по категориям',
  'chart.routes': 'Запросов в секунду, по маршрутам',
  'chart.first': 'Время до первого байта',
  'chart.first.note': 'половина (линия) и 99 из 100 (пунктир) за последние 15 с, логарифмически',
  'chart.classifier': 'Ожидание классификатора',
  'chart.none': 'за пять минут ничего',
  'chart.table': 'Таблицей',
  'chart.time': 'Время',
  'upstreams.title': 'Вышестоящие серверы',
  'upstreams.name': 'Имя',
  'upstreams.url': 'Сервер',
  'upstreams.state': 'Состояние',
  'upstreams.models': 'Модели',
  'upstreams.loaded': 'В памяти',
  'upstreams.inflight': 'В работе',
  'upstreams.cooling': 'пока не трогаем',
  'upstreams.up': 'отвечает',
  'upstreams.down': 'не отвечает',
  'upstreams.unknown': 'неизвестно',
  'upstreams.nothing': 'нет',
  'rules.title': 'Правила',
  'rules.generation': 'Поколение',
  'rules.loaded': 'Загружены',
  'rules.count': 'Правила и ответы',
  'rules.count.of': 'правил {rules}, ответов {answers}, выученных фраз {phrases}',
  'rules.reloads': 'Перезагрузки',
  'rules.reloads.of': 'удачных {ok}, отклонённых {refused}',
  'rules.error': 'Последняя ошибка',
  'rules.error.none': 'нет',
  'rules.broken': 'Правила на диске с ошибкой; работает последний исправный набор. {what}',
  'classifier.title': 'Классификатор',
  'classifier.mode': 'Режим',
  'classifier.state': 'Состояние',
  'classifier.outcomes': 'Исходы',
  'classifier.wait': 'Ожидание, половина / 99 из 100',
  'matrix.title': 'Что он изменил',
  'matrix.from': 'из \\ в',
  'matrix.none': 'Пока ни одна категория не изменена.',
  'memory.title': 'Память MLX',
  'memory.active': 'Занято',
  'memory.cache': 'В кэше',
  'memory.peak': 'Максимум',
  'decisions.title': 'Последние решения',
  'decisions.filter': 'Отбор',
  'decisions.pause': 'Пауза',
  'decisions.resume': 'Дальше',
  'decisions.count': 'показано {shown} из {all} с запуска',
  'decisions.none': 'Ещё ничего не спрашивали.',
  'decisions.notext':
    'Тексты запросов не хранятся (log.decisions_text = false): вместо них число слов и язык. Хранимые тексты остаются в памяти, видны каждому, кто дойдёт до этого адреса, и пишутся только в журнал решений.',
  'col.time': 'Время',
  'col.category': 'Категория',
  'col.route': 'Маршрут',
  'col.why': 'Почему',
  'col.asked': 'Запрос',
  words: 'слов: {n}, {language}',
  'why.hint': 'категорию назвал клиент',
  'why.rule': 'правило {rule}',
  'why.classifier': 'классификатор: {label} {p}, {ms}',
  'why.default': 'ни одно правило не подошло',
  'why.unsure': 'классификатор не уверен, {ms}',
  'why.kept': 'классификатор согласен, {ms}',
  'why.outcome': 'классификатор: {outcome}',
  'why.guard': 'не на месте из-за {guard}',
  'why.answer': 'ответ {answer}',
  'playground.title': 'Проба',
  'playground.lead': 'Что будет с запросом и почему. Ни один сервер не вызывается.',
  'ask.text': 'Сообщение',
  'ask.path': 'Путь',
  'ask.model': 'Модель',
  'ask.hint': 'Категория, названная клиентом',
  'ask.hint.none': 'не названа',
  'ask.whole': 'Или тело целиком',
  'ask.body': 'Тело (JSON)',
  'ask.go': 'Объяснить',
  'ask.example': 'привет, как дела?',
  'path.title': 'Путь запроса',
  'path.said.local': '{category}, решает {by}: ответ на месте, «{answer}».',
  'path.said.refused': '{category}, решает {by}: отказ на месте.',
  'path.said.upstream': '{category}, решает {by}: идёт на {upstream}.',
  'by.hint': 'подсказка',
  'by.rule': 'правило',
  'by.classifier': 'классификатор',
  'by.default': 'умолчание',
  'path.read': 'Чтение',
  'path.read.of': '{dialect}, слов {words}, {language}, реплика {turns}, модель {model}',
  'path.guards': 'Запреты',
  'path.guards.none': 'ничто не мешает ответить на месте',
  'path.guards.some': 'против ответа на месте: {guards}',
  'path.hint': 'Подсказка',
  'path.hint.none': 'клиент категорию не назвал',
  'path.hint.some': 'клиент назвал {category}',
  'path.rules': 'Правила',
  'path.rules.none': 'ни одно не подошло',
  'path.rules.won': 'победило',
  'path.rules.line': '{category}, приоритет {priority}, {because}, {at}',
  'path.taught': 'выучено: «{phrase}» — {label}, сходство {cosine}',
  'path.classifier': 'Классификатор',
  'path.classifier.said': '{label} {p}',
  'path.route': 'Маршрут',
  'path.route.local': 'на месте',
  'path.route.upstream': 'сервер {upstream}',
  'path.route.model': 'с моделью {model}',
  'path.route.guard': 'ответить на месте не даёт {guard}',
  'path.answer': 'Ответ',
  'path.answer.upstream': 'слова самого сервера, байт в байт',
  'trial.title': 'Новое правило',
  'trial.lead': 'Ещё не сохранённое правило на том, что спрашивали. Работающие правила не меняются.',
  'rule.text': 'Правила (TOML)',
  'rule.file': 'Вместо файла (пусто: рядом со всеми)',
  'rule.on': 'Проверить на',
  'rule.last': 'последних решениях (с текстом: {n})',
  'rule.lines': 'этих строках',
  'rule.lines.label': 'Сообщения, по одному в строке',
  'rule.lines.example': 'проверь договор аренды\nпривет\nпочему небо голубое',
  'rule.notext':
    'Последние решения заново не принять: их тексты не хранятся (log.decisions_text = false). Вставьте строки.',
  'rule.go': 'Проверить',
  'rule.busy': 'Проверяю …',
  'moved.title': 'Что оно изменит',
  'moved.said': 'Изменит {moved} из {of}.',
  'moved.same': 'Ещё {n} решатся иначе, но пойдут туда же.',
  'moved.without': 'Ещё {n} без текста.',
  'moved.unasked': '{n} надо бы показать классификатору, но он сейчас не ответил.',
  'moved.bad': 'В правилах ошибки: {n}.',
  'moved.before': 'Сейчас',
  'moved.after': 'Станет',
  'moved.elsewhere': 'в {file}',
  refused: 'отказ',
  foot: 'Всё здесь прочитано из этого процесса; со стороны ничего не загружается.',
  failed: 'Не вышло: {why}',
};

export type Language = 'en' | 'ru';
const words: Record<Language, Record<Key, string>> = { en, ru };
const STORED = 'brainstem.language';

let current: Language = (() => {
  const stored = localStorage.getItem(STORED);
  if (stored === 'en' || stored === 'ru') return stored;
  return navigator.language.toLowerCase().startsWith('ru') ? 'ru' : 'en';
})();

const followers: (() => void)[] = [];

export const language = (): Language => current;

/** The words of that key, its {places} filled; {place|one|many} is the word that goes with the number there. */
export function t(key: Key, places: Record<string, string | number> = {}): string {
  const one = (name: string): boolean => String(places[name]) === '1';
  const chosen = words[current][key].replace(/\{(\w+)\|(\w+)\|(\w+)\}/g, (_, name: string, single: string, many: string) => (one(name) ? single : many));
  return chosen.replace(/\{(\w+)\}/g, (whole, name: string) => String(places[name] ?? whole));
}

/** A number, in the language's own way. */
export const number = (n: number, digits = 0): string =>
  n.toLocaleString(current, { maximumFractionDigits: digits, minimumFractionDigits: digits });

/** Milliseconds as a person reads them: 12 µs, 3.4 ms, 1.2 s. */
export function span(ms: number): string {
  const [value, unit] = ms < 1 ? [ms * 1000, current === 'ru' ? 'мкс' : 'µs'] : ms < 1000 ? [ms, current === 'ru' ? 'мс' : 'ms'] : [ms / 1000, current === 'ru' ? 'с' : 's'];
  return `${number(value, value < 10 ? 1 : 0)} ${unit}`;
}

/** Bytes as a person reads them. */
export function size(bytes: number): string {
  const mib = bytes / 1048576;
  if (mib >= 1024) return `${number(mib / 1024, 1)} GiB`;
  return `${number(mib, mib < 100 ? 1 : 0)} MiB`;
}

export const clock = (at: Date): string => at.toLocaleTimeString(current, { hour12: false });

/** Seconds since the start. */
export function age(seconds: number): string {
  const [d, hours, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const unit = current === 'ru' ? ['д', 'ч', 'мин', 'с'] : ['d', 'h', 'min', 's'];
  if (d > 0) return `${d} ${unit[0]} ${hours} ${unit[1]}`;
  if (hours > 0) return `${hours} ${unit[1]} ${m} ${unit[2]}`;
  return m > 0 ? `${m} ${unit[2]}` : `${Math.floor(seconds)} ${unit[3]}`;
}

/** Is called now and whenever the language changes. */
export function follow(put: () => void): void {
  followers.push(put);
  put();
}

function put(): void {
  document.documentElement.lang = current;
  for (const element of document.querySelectorAll<HTMLElement>('[data-t]')) {
    element.textContent = t(element.dataset.t as Key);
  }
  for (const element of document.querySelectorAll<HTMLElement>('[data-label]')) {
    element.setAttribute('aria-label', t(element.dataset.label as Key));
  }
}

export function start(): void {
  const button = the<HTMLButtonElement>('language');
  follow(() => {
    put();
    button.textContent = t('language.other');
    button.lang = current === 'en' ? 'ru' : 'en';
  });
  button.addEventListener('click', () => {
    current = current === 'en' ? 'ru' : 'en';
    localStorage.setItem(STORED, current);
    followers.forEach((follower) => follower());
  });
}
