// A brainstem of its own with rules that may be broken, and an Ollama that says what it is told to.
import { spawn } from 'node:child_process';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const BIN = process.env.BRAINSTEM_BIN ?? join(ROOT, 'target/debug/brainstem');

const RULES = `
[[rule]]
name = "code-words"
category = "coding"
priority = 50
any = ["refactor", "stack trace", "функци*"]

[[rule]]
name = "forbidden"
refuse = "that is not talked about here"
priority = 90
any = ["forbidden topic"]
`;
const ANSWERS = `
[[answer]]
name = "greeting"
priority = 10
examples = ["good evening"]
ru = "Привет! Чем могу помочь?"
en = "Hello! How can I help you today?"
[answer.match]
only = true
any = ["hello", "hi", "привет"]
`;

/** Answers a chat after a while, lists two models, and has one of them in memory. */
function ollama() {
  const model = { name: 'llama3.2:latest', model: 'llama3.2:latest', size: 3_400_000_000, size_vram: 3_400_000_000 };
  const server = createServer((request, response) => {
    const json = (value) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
    request.resume();
    if (request.url === '/api/tags') return json({ models: [model, { ...model, name: 'qwen2.5-coder:14b' }] });
    if (request.url === '/api/ps') return json({ models: [model] });
    setTimeout(
      () => json({ model: 'llama3.2', created_at: '2026-01-01T00:00:00Z', message: { role: 'assistant', content: 'As you say.' }, done: true, done_reason: 'stop' }),
      20 + Math.random() * 60,
    );
  });
  return new Promise((ready) => server.listen(0, '127.0.0.1', () => ready({ server, url: `http://127.0.0.1:${server.address().port}` })));
}

const freePort = () =>
  new Promise((ready) => {
    const probe = createSocket().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => ready(port));
    });
  });

export async function eventually(what, holds, within = 30_000) {
  const until = Date.now() + within;
  for (;;) {
    try {
      if (await holds()) return;
    } catch {
      // Not yet.
    }
    if (Date.now() > until) throw new Error(`${what}: not within ${within} ms`);
    await new Promise((next) => setTimeout(next, 100));
  }
}

export async function start({ text = true } = {}) {
  const upstream = await ollama();
  const dir = await mkdtemp(join(tmpdir(), 'brainstem-console-'));
  await mkdir(join(dir, 'rules/answers'), { recursive: true });
  await writeFile(join(dir, 'rules/10-rules.toml'), RULES);
  await writeFile(join(dir, 'rules/answers/answers.toml'), ANSWERS);
  const [port, adminPort] = [await freePort(), await freePort()];
  const [proxy, admin] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${adminPort}`];
  const ours = Object.entries(process.env).filter(([name]) => !/^(BRAINSTEM|VICTORIA|MLX)_/.test(name));
  const child = spawn(
    BIN,
    ['serve', '--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${adminPort}`, '--upstream', upstream.url, '--rules', 'rules'],
    {
      cwd: dir,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...Object.fromEntries(ours),
        BRAINSTEM_LOG_DECISIONS_TEXT: String(text),
        BRAINSTEM_CLASSIFIER_MODEL: join(ROOT, 'models/intent'),
        BRAINSTEM_UPSTREAM_DEFAULT_POLL: '1s',
      },
    },
  );
  let log = '';
  child.stderr.on('data', (piece) => (log += piece));
  const running = {
    proxy,
    admin,
    dir,
    log: () => log,
    write: (name, content) => writeFile(join(dir, 'rules', name), content),
    chat: async (content, more = {}) => {
      const response = await fetch(`${proxy}/api/chat`, {
        method: 'POST',
        body: JSON.stringify({ model: 'llama3.2', stream: false, messages: [{ role: 'user', content }], ...more }),
      });
      await response.text();
      return response;
    },
    stop: async () => {
      child.kill('SIGKILL');
      upstream.server.closeAllConnections();
      upstream.server.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
  try {
    await eventually('brainstem is up with its classifier', async () => {
      if (child.exitCode !== null) throw new Error(log);
      const ready = await (await fetch(`${admin}/readyz`)).json();
      return ready.classifier.state !== 'loading' && ready.upstreams[0].models === 2;
    });
    await eventually('the proxy is up', async () => (await running.chat('hello')).ok);
  } catch (error) {
    await running.stop();
    throw new Error(`${error.message}\n${log}`);
  }
  return running;
}
