// The console in a real Chromium: what an operator sees and does. Screenshots go to .cache/screens.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { eventually, ROOT, start } from './stage.mjs';

const SCREENS = join(ROOT, '.cache/screens');
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SKY = '[[rule]]\nname = "sky"\ncategory = "reasoning"\npriority = 60\nany = ["sky", "tides"]\n';
const HOSTILE = [
  '<img src=x onerror="window.hacked=1">',
  '</td></tr></table><script>window.hacked=1</script>',
  '"><svg onload=window.hacked=1>',
  "';window.hacked=1;//",
  '{{constructor.constructor("window.hacked=1")()}}',
  '<iframe srcdoc="<script>parent.hacked=1</script>"></iframe>',
];

let browser;
let running;

before(async () => {
  await mkdir(SCREENS, { recursive: true });
  running = await start();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
});
after(async () => {
  await browser?.close();
  await running?.stop();
});

/** A page of the console, with everything that went wrong in it and every address that it asked for. */
async function open(options = {}, at = running) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 950 }, locale: 'en-GB', colorScheme: 'light', ...options });
  const page = await context.newPage();
  const wrong = [];
  const asked = new Set();
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()));
  page.on('request', (request) => asked.add(new URL(request.url()).origin));
  await page.goto(`${at.admin}/`);
  await page.locator('[data-link="on"]').waitFor();
  return { page, wrong, asked, close: () => context.close() };
}

const shot = (page, name) => page.screenshot({ path: join(SCREENS, `${name}.png`) });
const text = (page, selector) => page.locator(selector).innerText();

async function accessible(page) {
  // As the browser's own tools do, around the page's policy, which lets no script in.
  await page.context().newCDPSession(page).then((devtools) => devtools.send('Runtime.evaluate', { expression: axe }));
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }));
  assert.deepEqual(
    found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`),
    [],
  );
}

const test2 = (name, body) => test(name, { timeout: 120_000 }, body);

test2('it loads from the binary alone and moves while asks flow', async () => {
  const { page, wrong, asked, close } = await open();
  await page.locator('#tiles dd').first().waitFor();
  assert.equal(await page.locator('#charts figure').count(), 4);
  await page.locator('#charts canvas').nth(3).waitFor();
  const rows = page.locator('#decisions-rows tr');
  const before = await rows.count();
  for (let i = 0; i < 5; i += 1) await running.chat('hello');
  for (let i = 0; i < 3; i += 1) await running.chat('please refactor this');
  await running.chat('how many orders did we sell last week in the north');
  await eventually('nine new rows', async () => (await rows.count()) === before + 9);
  assert.match(await rows.first().innerText(), /data_question.*classifier: data_question 0\.\d\d/s);
  assert.match(await rows.nth(1).innerText(), /coding.*rule code-words.*please refactor this/s);
  await eventually('the legend counts', async () => /fast\s*[1-9]|coding\s*[1-9]/.test(await text(page, '#chart-categories .legend')) || (await running.chat('hello')) === null);
  await eventually('the matrix has it', async () => /data_question/.test(await text(page, '#matrix')));
  await eventually('models in memory are shown', async () => /llama3\.2:latest\s+.*llama3\.2:latest/s.test(await text(page, '#upstreams')));
  assert.match(await page.locator('#chart-first .plot').getAttribute('aria-label'), /Time to first byte/);
  await page.locator('#chart-routes summary').click();
  await eventually('the table has rows', async () => (await page.locator('#chart-routes tbody tr').count()) > 1);
  assert.deepEqual([...asked], [running.admin]);
  assert.deepEqual(wrong, []);
  await shot(page, 'load');
  await close();
});

test2('the filter and the pause', async () => {
  const { page, close } = await open();
  const rows = page.locator('#decisions-rows tr');
  // Earlier tests left rows behind: the asks of this one have arrived when the last of them stands on top.
  await running.chat('hello');
  await running.chat('please refactor the filter');
  await eventually('both rows', async () => /refactor the filter/.test(await rows.first().innerText()));
  await page.fill('#filter', 'refactor');
  for (const row of await rows.allInnerTexts()) assert.match(row, /refactor/);
  await page.fill('#filter', '');
  await page.click('#pause');
  const held = await rows.count();
  await running.chat('hello');
  await page.waitForTimeout(2500);
  assert.equal(await rows.count(), held);
  await page.click('#pause');
  await eventually('it goes on', async () => (await rows.count()) === held + 1);
  await close();
});

test2('the playground draws the path of an ask while it is typed', async () => {
  const { page, wrong, close } = await open();
  await page.fill('#ask-text', 'hello');
  await page.locator('#path li').first().waitFor();
  assert.match(await text(page, '#ask-said'), /fast, by rule: answered here, by “greeting”/);
  assert.match(await text(page, '#path'), /Hello! How can I help you today\?/);
  await page.fill('#ask-text', 'how many orders did we sell last week in the north');
  await eventually('the classifier spoke', async () => /data_question, by classifier/.test(await text(page, '#ask-said')));
  assert.equal(await page.locator('#path .scores li').count(), 5);
  await shot(page, 'playground');
  await page.selectOption('#ask-hint', 'coding');
  await eventually('the hint holds', async () => /coding, by hint/.test(await text(page, '#ask-said')));
  await page.selectOption('#ask-hint', '');
  await page.click('#ask-whole summary');
  await page.fill('#ask-body', JSON.stringify({ model: 'm', tools: [{ type: 'function' }], messages: [{ role: 'user', content: 'hello' }] }));
  await eventually('the guard is told', async () => /kept from a local answer by tools/.test(await text(page, '#path')));
  assert.deepEqual(wrong, []);
  await page.fill('#ask-body', '{broken');
  await eventually('what cannot be read is said', async () => /cannot be read/.test(await text(page, '#ask-said')));
  await close();
});

test2('a rule is tried before it is saved', async () => {
  const { page, wrong, close } = await open();
  await running.chat('explain the tides');
  await running.chat('explain the tides');
  await page.fill('#rule-text', SKY);
  await page.click('#rule button[type=submit]');
  await eventually('the result', async () => /^This would move \d+ of \d+\./.test(await text(page, '#rule-said')));
  assert.match(await text(page, '#moved'), /explain the tides.*general.*reasoning/s);
  await shot(page, 'trial');
  // Its fault is told with its place, and a click goes there.
  await page.fill('#rule-text', SKY.replace('reasoning', 'resoning'));
  await page.click('#rule button[type=submit]');
  await page.locator('#rule-problems button').waitFor();
  assert.match(await text(page, '#rule-problems'), /3:12 .*"reasoning"/s);
  await page.click('#rule-problems button');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'rule-text');
  assert.equal((await (await fetch(`${running.admin}/rules`)).json()).generation, 1);
  assert.deepEqual(wrong, []);
  await close();
});

test2('broken rules on disk are said on top until they are mended', async () => {
  const { page, close } = await open();
  await running.write('20-broken.toml', '[[rule]]\nname = "x"\ncategory = "codng"\nany = ["a"]\n');
  await page.locator('#rules-error:not([hidden])').waitFor();
  assert.match(await text(page, '#rules-error'), /20-broken\.toml:3:12/);
  assert.match(await text(page, '#rules-facts'), /1 refused/);
  await shot(page, 'broken');
  await running.write('20-broken.toml', '# mended\n');
  await page.locator('#rules-error[hidden]').waitFor({ state: 'attached' });
  await close();
});

test2('hostile prompts are text and nothing else', async () => {
  const { page, wrong, close } = await open();
  for (const prompt of HOSTILE) await running.chat(prompt);
  await running.chat('hello', { model: HOSTILE[0] });
  const shown = page.locator('#decisions-rows .asked');
  await eventually('all are shown', async () => {
    const rows = await shown.allTextContents();
    return HOSTILE.every((prompt) => rows.includes(prompt));
  });
  for (const prompt of HOSTILE) {
    await page.fill('#ask-text', prompt);
    await page.fill('#ask-model', prompt);
    await eventually('the path quotes it', async () => (await text(page, '#path blockquote >> nth=0')) === prompt);
  }
  await page.fill('#rule-text', '[[rule]]\nname = "any"\ncategory = "coding"\npriority = 99\nregex = ["hacked"]\n');
  await page.click('#rule button[type=submit]');
  await eventually('the trial quotes them', async () => /onerror/.test(await text(page, '#moved')));
  await page.fill('#rule-text', `[[rule]]\nname = "x"\ncategory = '${HOSTILE[0]}'\nany = ["a"]\n`);
  await page.click('#rule button[type=submit]');
  await eventually('so does the fault', async () => /onerror/.test(await text(page, '#rule-problems')));
  assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  assert.equal(await page.locator('main img, main script, main iframe, main svg').count(), 0);
  assert.deepEqual(wrong, []);
  await close();
});

test2('nothing inline runs and no HTML is made of strings', async () => {
  const { page, close } = await open();
  const refused = await page.evaluate(() => {
    try {
      document.body.innerHTML += '<p>x</p>';
      return false;
    } catch (error) {
      return error instanceof TypeError;
    }
  });
  assert.ok(refused, 'trusted types are on');
  await close();
});

test2('dark, by the system and by hand', async () => {
  const { page, close } = await open({ colorScheme: 'dark' });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await ground(), 'rgb(18, 21, 24)');
  await page.locator('#charts canvas').nth(3).waitFor();
  await accessible(page);
  await shot(page, 'dark');
  await page.click('#theme');
  assert.equal(await ground(), 'rgb(246, 245, 242)');
  await page.reload();
  await page.locator('[data-link="on"]').waitFor();
  assert.equal(await ground(), 'rgb(246, 245, 242)', 'the choice is kept');
  await close();
});

test2('Russian, by the browser and by hand', async () => {
  const { page, close } = await open({ locale: 'ru-RU' });
  assert.equal(await page.locator('html').getAttribute('lang'), 'ru');
  assert.equal(await text(page, '#decisions-title'), 'Последние решения');
  await page.fill('#ask-text', 'привет');
  await eventually('the path speaks Russian', async () => /fast, решает правило: ответ на месте/.test(await text(page, '#ask-said')));
  await shot(page, 'russian');
  // Every word of the page has its Russian.
  const words = await page.locator('[data-t]').allInnerTexts();
  assert.deepEqual(words.filter((word) => /^[a-z .,()]+$/i.test(word) && !/toml/i.test(word)), []);
  await page.click('#language');
  assert.equal(await text(page, '#decisions-title'), 'The last decisions');
  assert.match(await text(page, '#ask-said'), /fast, by rule/);
  await close();
});

test2('by keyboard, and for a screen reader', async () => {
  const { page, close } = await open();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.focus('#ask-text');
  await page.keyboard.type('hello');
  await page.keyboard.press('Enter');
  await page.locator('#path li').first().waitFor();
  await page.fill('#rule-text', SKY);
  await page.focus('#rule button[type=submit]');
  await page.keyboard.press('Enter');
  await eventually('the result', async () => /^This would move/.test(await text(page, '#rule-said')));
  await accessible(page);
  await close();
});

test2('on a narrow screen nothing runs out of it', async () => {
  const { page, close } = await open({ viewport: { width: 390, height: 800 } });
  await page.fill('#ask-text', 'hello');
  await page.locator('#path li').first().waitFor();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(wide, 0);
  await shot(page, 'narrow');
  await close();
});

test2('without the text key the page says so and offers lines', async () => {
  const quiet = await start({ text: false });
  try {
    const { page, wrong, close } = await open({}, quiet);
    await quiet.chat('a very private matter');
    await eventually('a row', async () => /4 words, en/.test(await text(page, '#decisions-rows')));
    assert.match(await text(page, '#no-text'), /log\.decisions_text = false/);
    assert.ok(await page.locator('#on-last').isDisabled());
    assert.match(await text(page, '#rule-no-text'), /Paste lines instead/);
    await page.fill('#rule-text', SKY);
    await page.fill('#rule-lines', 'explain the tides\nhello\n');
    await page.click('#rule button[type=submit]');
    await eventually('the result', async () => (await text(page, '#rule-said')) === 'This would move 1 of 2.');
    assert.ok(!(await page.content()).includes('private matter'));
    assert.deepEqual(wrong, []);
    await close();
  } finally {
    await quiet.stop();
  }
});

test2('a restart is noticed, and the page goes on', async () => {
  const mortal = await start();
  const { page, close } = await open({}, mortal);
  await mortal.stop();
  await page.locator('[data-link="off"]').waitFor();
  assert.match(await text(page, '#link'), /no connection/);
  await close();
});
