// Where everything listens, and how an answer's way is read off its headers.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto; // Debian 12's node 18 has it under another name; ai-sdk-ollama looks for this one

const places = JSON.parse(process.env.BRAINSTEM_E2E);
export const scripted = places.scripted;
/** The real Ollama where there is one, else the scripted upstream. */
export const front = places.real ?? scripted;

export const GREETINGS = ['Привет!', 'hello'];
export const HEAVY = 'Explain step by step why the sky is blue at noon but red at sunset, and derive the law behind it.';
export const user = (content) => [{ role: 'user', content }];

/** A fetch that remembers the headers of the last response that went past. */
export function listener() {
  const heard = {
    headers: null,
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      heard.headers = response.headers;
      return response;
    },
    local() {
      assert.equal(heard.headers?.get('x-brainstem-route'), 'local', told(heard.headers));
      assert.equal(heard.headers.get('x-brainstem-category'), 'fast');
    },
    forwarded() {
      assert.equal(heard.headers?.get('x-brainstem-route'), 'upstream', told(heard.headers));
    },
  };
  return heard;
}

const told = (headers) => JSON.stringify([...(headers ?? [])].filter(([name]) => name.startsWith('x-brainstem')));
