"""The official Python clients: a greeting is answered by brainstem, a heavy question by what stands behind it."""

import asyncio

import anthropic
import httpx
import httpx2  # what anthropic is built on
import ollama
import openai
import pytest
from conftest import GREETINGS, HEAVY, assert_local
from langchain_ollama import ChatOllama, OllamaLLM

SHORT = {"num_predict": 8, "temperature": 0, "seed": 7}
greeting = pytest.mark.parametrize("text", GREETINGS, ids=["ru", "en"])
heavy = pytest.mark.parametrize("text", HEAVY, ids=["en", "ru"])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def user(text):
    return [{"role": "user", "content": text}]


# === ollama


@pytest.fixture
def ollama_client(front, heard):
    return ollama.Client(front.proxy, event_hooks=heard.hooks)


def final(reply, stream):
    """The text and the last object of a reply of ollama's client."""
    parts = list(reply) if stream else [reply]
    text = "".join(getattr(part, "response", None) or part.message.content if "message" in part else part.response for part in parts)
    if stream:
        assert len(parts) > 1 and not any(part.done for part in parts[:-1])
    assert parts[-1].done
    return text, parts[-1]


@greeting
@streamed
@pytest.mark.parametrize("call", ["chat", "generate"])
def test_ollama_greeting(front, heard, ollama_client, call, text, stream):
    what = {"messages": user(text)} if call == "chat" else {"prompt": text}
    said, last = final(getattr(ollama_client, call)(front.model, stream=stream, **what), stream)
    heard.local()
    assert said and last.model == front.model and last.done_reason == "stop"
    for metric in ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"):
        assert last[metric] >= 1, metric


@heavy
@streamed
@pytest.mark.parametrize("call", ["chat", "generate"])
def test_ollama_heavy(front, heard, ollama_client, call, text, stream):
    what = {"messages": user(text)} if call == "chat" else {"prompt": text}
    said, last = final(getattr(ollama_client, call)(front.model, stream=stream, options=SHORT, **what), stream)
    heard.forwarded()
    assert said and last.model == front.model and last.eval_count >= 1


def test_ollama_async(front):
    seen = []

    async def hook(response):
        seen.append(response.headers)

    async def talk():
        client = ollama.AsyncClient(front.proxy, event_hooks={"response": [hook]})
        return [part async for part in await client.chat(front.model, messages=user("Привет!"), stream=True)]

    parts = asyncio.run(talk())
    assert_local(seen[-1])
    assert parts[-1].done and "".join(part.message.content for part in parts)


def test_ollama_errors_stay_errors(front, ollama_client):
    with pytest.raises(ollama.ResponseError) as caught:
        ollama_client.chat("no-such-model", messages=user("Привет!"))
    assert caught.value.status_code == 404
    assert "not found" in caught.value.error


# === openai


@pytest.fixture
def openai_client(front, heard):
    return openai.OpenAI(base_url=f"{front.proxy}/v1", api_key="ollama", http_client=heard.client(), max_retries=0)


@pytest.fixture
def openai_scripted(scripted, heard):
    return openai.OpenAI(base_url=f"{scripted.proxy}/v1", api_key="ollama", http_client=heard.client(), max_retries=0)


@greeting
def test_openai_greeting(front, heard, openai_client, text):
    reply = openai_client.chat.completions.create(model=front.model, messages=user(text))
    heard.local()
    assert reply.choices[0].message.content and reply.choices[0].finish_reason == "stop"
    assert reply.model == front.model and reply.id.startswith("chatcmpl-") and reply.system_fingerprint == "fp_ollama"
    assert reply.usage.prompt_tokens >= 1 and reply.usage.completion_tokens >= 1
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@greeting
def test_openai_greeting_streamed(front, heard, openai_client, text):
    chunks = list(
        openai_client.chat.completions.create(
            model=front.model, messages=user(text), stream=True, stream_options={"include_usage": True}
        )
    )
    heard.local()
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert not chunks[-1].choices and chunks[-1].usage.completion_tokens >= 1
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1


def test_openai_greeting_in_content_parts(front, heard, openai_client):
    parts = [{"type": "text", "text": "Привет!"}]
    reply = openai_client.chat.completions.create(model=front.model, messages=[{"role": "user", "content": parts}])
    heard.local()
    assert reply.choices[0].message.content


def test_openai_stream_helper(front, heard, openai_client):
    with openai_client.chat.completions.stream(model=front.model, messages=user("hello")) as stream:
        stream.until_done()
        reply = stream.get_final_completion()
    heard.local()
    assert reply.choices[0].message.content and reply.choices[0].finish_reason == "stop"


@heavy
@streamed
def test_openai_heavy(front, heard, openai_client, text, stream):
    reply = openai_client.chat.completions.create(
        model=front.model, messages=user(text), max_tokens=8, temperature=0, seed=7, stream=stream
    )
    if stream:
        chunks = list(reply)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert any(chunk.choices[0].finish_reason for chunk in chunks if chunk.choices)
    else:
        said = reply.choices[0].message.content
    heard.forwarded()
    assert said


@streamed
def test_openai_completions(front, heard, openai_client, stream):
    def said(reply):
        if not stream:
            return reply.choices[0].text
        return "".join(chunk.choices[0].text for chunk in reply if chunk.choices)

    assert said(openai_client.completions.create(model=front.model, prompt="hello", stream=stream))
    heard.local()
    assert said(openai_client.completions.create(model=front.model, prompt=HEAVY[0], max_tokens=8, stream=stream))
    heard.forwarded()


def test_openai_async(front):
    seen = []

    async def hook(response):
        seen.append(response.headers)

    async def talk():
        async with httpx.AsyncClient(event_hooks={"response": [hook]}) as http:
            client = openai.AsyncOpenAI(base_url=f"{front.proxy}/v1", api_key="ollama", http_client=http)
            return await client.chat.completions.create(model=front.model, messages=user("Привет!"))

    assert asyncio.run(talk()).choices[0].message.content
    assert_local(seen[-1])


def test_openai_errors_stay_errors(front, openai_client):
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.chat.completions.create(model="no-such-model", messages=user("hello"))
    assert "not found" in caught.value.message


@greeting
def test_responses_greeting(front, heard, openai_client, text):
    reply = openai_client.responses.create(model=front.model, input=text)
    heard.local()
    assert reply.output_text and reply.status == "completed" and reply.model == front.model
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


def test_responses_greeting_streamed(front, heard, openai_client):
    with openai_client.responses.stream(model=front.model, input=user("Привет!")) as stream:
        events = list(stream)
        reply = stream.get_final_response()
    heard.local()
    assert reply.output_text and reply.status == "completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == reply.output_text


@streamed
def test_responses_heavy(scripted, heard, openai_scripted, stream):
    reply = openai_scripted.responses.create(model=scripted.model, input=HEAVY[0], stream=stream)
    if stream:
        said = "".join(event.delta for event in reply if event.type == "response.output_text.delta")
    else:
        said = reply.output_text
    heard.forwarded()
    assert said == "Scripted words from upstream."


# === anthropic


def anthropic_client(where, heard):
    return anthropic.Anthropic(base_url=where.proxy, api_key="ollama", http_client=heard.client(httpx2), max_retries=0)


@greeting
def test_anthropic_greeting(front, heard, text):
    reply = anthropic_client(front, heard).messages.create(model=front.model, max_tokens=512, messages=user(text))
    heard.local()
    assert reply.content[0].text and reply.stop_reason == "end_turn" and reply.model == front.model
    assert reply.usage.input_tokens >= 1 and reply.usage.output_tokens >= 1


@greeting
def test_anthropic_greeting_streamed(front, heard, text):
    with anthropic_client(front, heard).messages.stream(model=front.model, max_tokens=512, messages=user(text)) as stream:
        said = "".join(stream.text_stream)
        reply = stream.get_final_message()
    heard.local()
    assert said and reply.content[0].text == said and reply.stop_reason == "end_turn"


def test_anthropic_greeting_in_blocks(front, heard):
    blocks = [{"type": "text", "text": "hello"}]
    message = [{"role": "user", "content": blocks}]
    reply = anthropic_client(front, heard).messages.create(model=front.model, max_tokens=512, messages=message)
    heard.local()
    assert reply.content[0].text


@heavy
@streamed
def test_anthropic_heavy(scripted, heard, text, stream):
    asked = {"model": scripted.model, "max_tokens": 512, "messages": user(text)}
    client = anthropic_client(scripted, heard)
    if stream:
        with client.messages.stream(**asked) as events:
            said = "".join(events.text_stream)
    else:
        said = client.messages.create(**asked).content[0].text
    heard.forwarded()
    assert said == "Scripted words from upstream."


def test_anthropic_errors_stay_errors(scripted, heard):
    with pytest.raises(anthropic.NotFoundError) as caught:
        anthropic_client(scripted, heard).messages.create(model="no-such-model", max_tokens=9, messages=user("hello"))
    assert caught.value.body["error"]["type"] == "not_found_error"


# === langchain-ollama


def langchain(kind, front, heard, **more):
    return kind(model=front.model, base_url=front.proxy, sync_client_kwargs={"event_hooks": heard.hooks}, **more)


@greeting
def test_langchain_greeting(front, heard, text):
    reply = langchain(ChatOllama, front, heard).invoke(text)
    heard.local()
    assert reply.content and reply.usage_metadata["output_tokens"] >= 1
    assert reply.response_metadata["done_reason"] == "stop"


@greeting
def test_langchain_greeting_streamed(front, heard, text):
    assert "".join(chunk.content for chunk in langchain(ChatOllama, front, heard).stream(text))
    heard.local()
    assert "".join(langchain(OllamaLLM, front, heard).stream(text))
    heard.local()


@heavy
@streamed
def test_langchain_heavy(front, heard, text, stream):
    chat = langchain(ChatOllama, front, heard, num_predict=8, temperature=0, seed=7)
    said = "".join(chunk.content for chunk in chat.stream(text)) if stream else chat.invoke(text).content
    heard.forwarded()
    assert said
