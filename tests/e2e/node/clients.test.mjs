// The official JavaScript clients: a greeting is answered by brainstem, a heavy question by what stands behind it.
import assert from 'node:assert/strict';
import { test as nodeTest } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import Anthropic from '@anthropic-ai/sdk';
import { generateText, streamText } from 'ai';
import { createOllama } from 'ai-sdk-ollama';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { front, GREETINGS, HEAVY, listener, scripted, user } from './stage.mjs';

const test = (name, body, options = {}) => nodeTest(name, { timeout: 120_000, ...options }, body);
const SHORT = { num_predict: 8, temperature: 0, seed: 7 };
const SCRIPTED = 'Scripted words from upstream.';

// === ollama

function ollama() {
  const heard = listener();
  return { heard, client: new Ollama({ host: front.proxy, fetch: heard.fetch }) };
}

for (const text of GREETINGS) {
  test(`ollama: ${text}`, async () => {
    const { heard, client } = ollama();
    const reply = await client.chat({ model: front.model, messages: user(text) });
    heard.local();
    assert.ok(reply.message.content && reply.done && reply.eval_count >= 1 && reply.eval_duration >= 1);
    assert.equal(reply.model, front.model);
  });

  test(`ollama, streamed: ${text}`, async () => {
    const { heard, client } = ollama();
    let said = '';
    let last;
    for await (const part of await client.chat({ model: front.model, messages: user(text), stream: true })) {
      said += part.message.content;
      last = part;
    }
    heard.local();
    assert.ok(said && last.done);

    said = '';
    for await (const part of await client.generate({ model: front.model, prompt: text, stream: true })) said += part.response;
    heard.local();
    assert.ok(said);
  });
}

test('ollama: heavy, whole and streamed', async () => {
  const { heard, client } = ollama();
  const asked = { model: front.model, messages: user(HEAVY), options: SHORT };
  const whole = await client.chat(asked);
  heard.forwarded();
  let said = '';
  for await (const part of await client.chat({ ...asked, stream: true })) said += part.message.content;
  heard.forwarded();
  assert.ok(whole.message.content && said);
  const generated = await client.generate({ model: front.model, prompt: HEAVY, options: SHORT });
  heard.forwarded();
  assert.ok(generated.response);
});

test('ollama: a stream that is aborted', async () => {
  const client = new Ollama({ host: scripted.proxy });
  const stream = await client.chat({ model: 'scripted-endless', messages: user(HEAVY), stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream) stream.abort();
  }, { name: 'AbortError' });
}, { skip: process.version < 'v20' && "node 18's fetch forgets its abort signal at a garbage collection, with any server" });

test('ollama: list, ps, show and an error', async () => {
  const { client } = ollama();
  const names = (await client.list()).models.map((model) => model.name);
  assert.ok(names.some((name) => name.startsWith(front.model)));
  assert.ok(Array.isArray((await client.ps()).models));
  await assert.rejects(client.show({ model: 'no-such-model' }));
  await assert.rejects(client.chat({ model: 'no-such-model', messages: user('hello') }), { status_code: 404 });
});

// === openai

function openai(where = front) {
  const heard = listener();
  return { heard, client: new OpenAI({ baseURL: `${where.proxy}/v1`, apiKey: 'ollama', fetch: heard.fetch, maxRetries: 0 }) };
}

for (const text of GREETINGS) {
  test(`openai: ${text}`, async () => {
    const { heard, client } = openai();
    const reply = await client.chat.completions.create({ model: front.model, messages: user(text) });
    heard.local();
    assert.ok(reply.choices[0].message.content);
    assert.equal(reply.choices[0].finish_reason, 'stop');
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
  });

  test(`openai, streamed: ${text}`, async () => {
    const { heard, client } = openai();
    const stream = client.chat.completions.stream({
      model: front.model, messages: user(text), stream_options: { include_usage: true },
    });
    const reply = await stream.finalChatCompletion();
    heard.local();
    assert.ok(reply.choices[0].message.content && reply.usage.completion_tokens >= 1);
  });

  test(`openai responses: ${text}`, async () => {
    const { heard, client } = openai();
    const reply = await client.responses.create({ model: front.model, input: text });
    heard.local();
    assert.ok(reply.output_text);
    const streamed = await client.responses.stream({ model: front.model, input: text }).finalResponse();
    heard.local();
    assert.equal(streamed.output_text, reply.output_text);
  });
}

test('openai: heavy, whole and streamed', async () => {
  const { heard, client } = openai();
  const asked = { model: front.model, messages: user(HEAVY), max_tokens: 8, temperature: 0, seed: 7 };
  const whole = await client.chat.completions.create(asked);
  heard.forwarded();
  assert.ok(whole.choices[0].message.content);
  let said = '';
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    said += chunk.choices[0]?.delta.content ?? '';
  }
  heard.forwarded();
  assert.ok(said);
});

test('openai completions: greeting and heavy', async () => {
  const { heard, client } = openai();
  assert.ok((await client.completions.create({ model: front.model, prompt: 'hello' })).choices[0].text);
  heard.local();
  assert.ok((await client.completions.create({ model: front.model, prompt: HEAVY, max_tokens: 8 })).choices[0].text);
  heard.forwarded();
});

test('openai responses: heavy', async () => {
  const { heard, client } = openai(scripted);
  assert.equal((await client.responses.create({ model: scripted.model, input: HEAVY })).output_text, SCRIPTED);
  heard.forwarded();
  const streamed = await client.responses.stream({ model: scripted.model, input: HEAVY }).finalResponse();
  assert.equal(streamed.output_text, SCRIPTED);
  heard.forwarded();
});

test('openai: a model that is not there', async () => {
  await assert.rejects(
    openai().client.chat.completions.create({ model: 'no-such-model', messages: user('hello') }),
    { status: 404 },
  );
});

// === anthropic

function anthropic(where = front) {
  const heard = listener();
  return { heard, client: new Anthropic({ baseURL: where.proxy, apiKey: 'ollama', fetch: heard.fetch, maxRetries: 0 }) };
}

for (const text of GREETINGS) {
  test(`anthropic: ${text}`, async () => {
    const { heard, client } = anthropic();
    const asked = { model: front.model, max_tokens: 512, messages: user(text) };
    const reply = await client.messages.create(asked);
    heard.local();
    assert.equal(reply.stop_reason, 'end_turn');
    const streamed = await client.messages.stream(asked).finalMessage();
    heard.local();
    assert.ok(reply.content[0].text);
    assert.equal(streamed.content[0].text, reply.content[0].text);
  });
}

test('anthropic: heavy, whole and streamed', async () => {
  const { heard, client } = anthropic(scripted);
  const asked = { model: scripted.model, max_tokens: 512, messages: user(HEAVY) };
  assert.equal((await client.messages.create(asked)).content[0].text, SCRIPTED);
  heard.forwarded();
  assert.equal(await client.messages.stream(asked).finalText(), SCRIPTED);
  heard.forwarded();
});

// === ai-sdk-ollama

function aiSdk() {
  const heard = listener();
  return { heard, model: createOllama({ baseURL: front.proxy, fetch: heard.fetch })(front.model) };
}

for (const text of GREETINGS) {
  test(`ai-sdk-ollama: ${text}`, async () => {
    const { heard, model } = aiSdk();
    const whole = await generateText({ model, prompt: text });
    heard.local();
    const streamed = streamText({ model, prompt: text });
    let said = '';
    for await (const part of streamed.textStream) said += part;
    heard.local();
    assert.ok(whole.text);
    assert.equal(said, whole.text);
  });
}

test('ai-sdk-ollama: heavy, whole and streamed', async () => {
  const { heard, model } = aiSdk();
  const asked = { model, prompt: HEAVY, maxOutputTokens: 8, temperature: 0, seed: 7 };
  assert.ok((await generateText(asked)).text);
  heard.forwarded();
  assert.ok(await streamText(asked).text);
  heard.forwarded();
});

// === @ai-sdk/openai-compatible

function compatible() {
  const heard = listener();
  const provider = createOpenAICompatible({ name: 'brainstem', baseURL: `${front.proxy}/v1`, fetch: heard.fetch });
  return { heard, model: provider(front.model) };
}

for (const text of GREETINGS) {
  test(`@ai-sdk/openai-compatible: ${text}`, async () => {
    const { heard, model } = compatible();
    const whole = await generateText({ model, prompt: text });
    heard.local();
    assert.equal(whole.finishReason, 'stop');
    let said = '';
    for await (const part of streamText({ model, prompt: text }).textStream) said += part;
    heard.local();
    assert.ok(whole.text);
    assert.equal(said, whole.text);
  });
}

test('@ai-sdk/openai-compatible: heavy, streamed', async () => {
  const { heard, model } = compatible();
  assert.ok(await streamText({ model, prompt: HEAVY, maxOutputTokens: 8, temperature: 0, seed: 7 }).text);
  heard.forwarded();
});
