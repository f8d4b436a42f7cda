"""What is answered here and what is handed on, over plain HTTP: dialects, guards, hints, limits."""

import json
import time

import pytest
from conftest import HEAVY, assert_forwarded, assert_local

LIFE_SUPPORT = [
    "Привет!",
    "здравствуйте",
    "доброе утро",
    "что ты умеешь?",
    "кто ты?",
    "спасибо, пока",
    "ты жив?",
    "который час?",
    "какая у тебя версия?",
    "hello",
    "Good morning!",
    "what can you do?",
    "who are you?",
    "thanks, bye",
    "are you alive?",
    "ping",
    "what time is it",
    "what version are you?",
]
THINKING = [
    *HEAVY,
    "привет, почему небо голубое?",
    "hi, can you fix this: TypeError: 'NoneType' object is not callable",
    "Сколько заказов было в прошлом месяце по каждому региону?",
    "SELECT count(*) FROM users WHERE age > 30",
    "write a haiku",
    "yes",
    "2 + 2",
    "переведи на английский: добрый день, коллеги",
    "say hello in French",
    "what time is it in Tokyo when it is noon in Paris",
]


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


ASKS = {
    "/api/generate": lambda text, **more: {"prompt": text, **more},
    "/api/chat": chat,
    "/v1/chat/completions": chat,
    "/v1/completions": lambda text, **more: {"prompt": text, **more},
    "/v1/messages": lambda text, **more: chat(text, **{"max_tokens": 512, **more}),
    "/v1/responses": lambda text, **more: {"input": text, **more},
}
every_dialect = pytest.mark.parametrize("path", list(ASKS))
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def ask(front, path, text, headers=None, **more):
    body = json.dumps({"model": front.model, **ASKS[path](text, **more)})
    return front.ask(path, content=body, headers=headers or {})


@pytest.mark.parametrize("text", LIFE_SUPPORT, ids=range(len(LIFE_SUPPORT)))
def test_life_support_is_answered_here(front, text):
    assert_local(ask(front, "/api/chat", text).headers)


@pytest.mark.parametrize("text", THINKING, ids=range(len(THINKING)))
def test_thinking_is_handed_on(scripted, text):
    reply = ask(scripted, "/api/chat", text, stream=False)
    assert_forwarded(reply.headers)
    assert reply.json()["message"]["content"] == "Scripted words from upstream."


@every_dialect
@streamed
def test_a_greeting_in_every_dialect(front, path, stream):
    reply = ask(front, path, "Привет!", stream=stream)
    assert reply.status_code == 200
    assert_local(reply.headers)
    kind = reply.headers["content-type"]
    if path.startswith("/api/"):
        assert kind == ("application/x-ndjson" if stream else "application/json; charset=utf-8")
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert lines[-1]["done"] and (len(lines) > 1) == stream
        assert not stream or reply.text.endswith("\n")
    else:
        assert kind == ("text/event-stream" if stream else "application/json")
        if stream and path in ("/v1/chat/completions", "/v1/completions"):
            assert reply.text.endswith("data: [DONE]\n\n")
        elif stream:
            assert "[DONE]" not in reply.text and reply.headers["cache-control"] == "no-cache"
        else:
            assert reply.text.endswith("\n") and reply.json()["model"] == front.model


@every_dialect
def test_streaming_defaults_are_the_dialects_own(front, path):
    kind = ask(front, path, "hello").headers["content-type"]
    assert kind == ("application/x-ndjson" if path.startswith("/api/") else "application/json")


@every_dialect
def test_a_heavy_question_in_every_dialect(scripted, path):
    reply = ask(scripted, path, HEAVY[0], stream=False)
    assert_forwarded(reply.headers)
    assert "Scripted words from upstream." in reply.text
    assert reply.headers["x-brainstem-decided-by"] in ("hint", "rule", "classifier", "default")


def test_no_content_type_is_needed(front):
    reply = front.ask(
        "/api/chat",
        content=json.dumps({"model": front.model, **chat("Привет!")}),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert_local(reply.headers)


def test_an_answer_repeats_itself_on_a_retry(front):
    asked = [ask(front, "/api/chat", "Привет!", stream=False).json()["message"]["content"] for _ in range(3)]
    assert len(set(asked)) == 1


def test_a_local_answer_is_quick(front):
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert_local(ask(front, "/api/chat", "Привет!").headers)
        times.append(time.perf_counter() - started)
    assert sorted(times)[10] < 0.1, times  # loosely: a debug build on a busy machine; `make bench` measures


@pytest.mark.parametrize(
    "path, more, reason, expected",
    [
        ("/api/chat", {"options": {"num_predict": 2}, "stream": False}, lambda r: r["done_reason"], "length"),
        ("/api/generate", {"options": {"num_predict": 2}, "stream": False}, lambda r: r["done_reason"], "length"),
        ("/v1/chat/completions", {"max_tokens": 2}, lambda r: r["choices"][0]["finish_reason"], "length"),
        ("/v1/completions", {"max_tokens": 2}, lambda r: r["choices"][0]["finish_reason"], "length"),
        ("/v1/messages", {"max_tokens": 2}, lambda r: r["stop_reason"], "max_tokens"),
    ],
    ids=["chat", "generate", "chat-completions", "completions", "messages"],
)
def test_the_requests_own_limit_cuts_a_local_answer(front, path, more, reason, expected):
    full = ask(front, path, "что ты умеешь?", stream=False)
    cut = ask(front, path, "что ты умеешь?", **more)
    assert_local(cut.headers)
    assert reason(cut.json()) == expected
    assert len(cut.text) < len(full.text)


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
EARLIER = [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}]
GUARDED = {
    "load": ("/api/chat", {"messages": []}),
    "load generate": ("/api/generate", {}),
    "unload": ("/api/generate", {"keep_alive": 0}),
    "keep_alive 0": ("/api/chat", chat("hello", keep_alive=0)),
    "tools": ("/api/chat", chat("hello", tools=[TOOL])),
    "tools openai": ("/v1/chat/completions", chat("hello", tools=[TOOL])),
    "tool_choice": ("/v1/chat/completions", chat("hello", tool_choice="auto")),
    "tool result last": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "hello"}, {"role": "tool", "tool_call_id": "call_1", "content": "hello"}]},
    ),
    "format": ("/api/chat", chat("hello", format="json")),
    "schema": ("/api/generate", {"prompt": "hello", "format": {"type": "object"}}),
    "response_format": ("/v1/chat/completions", chat("hello", response_format={"type": "json_object"})),
    "text.format": ("/v1/responses", {"input": "hello", "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}),
    "images": ("/api/chat", {"messages": [{"role": "user", "content": "hello", "images": [PIXEL]}]}),
    "image part": (
        "/v1/chat/completions",
        chat([{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]),
    ),
    "image block": (
        "/v1/messages",
        chat(
            [
                {"type": "text", "text": "hello"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            ],
            max_tokens=64,
        ),
    ),
    "raw": ("/api/generate", {"prompt": "hello", "raw": True}),
    "suffix": ("/api/generate", {"prompt": "hello", "suffix": "bye"}),
    "template": ("/api/generate", {"prompt": "hello", "template": "{{ .Prompt }}"}),
    "context": ("/api/generate", {"prompt": "hello", "context": [1, 2, 3]}),
    "logprobs": ("/v1/chat/completions", chat("hello", logprobs=True)),
    "n": ("/v1/chat/completions", chat("hello", n=2)),
    "earlier turns": ("/api/chat", {"messages": [*EARLIER, {"role": "user", "content": "thanks"}]}),
    "earlier turns anthropic": ("/v1/messages", {"max_tokens": 64, "messages": [*EARLIER, {"role": "user", "content": "hello"}]}),
    "persona": (
        "/api/chat",
        {"messages": [{"role": "system", "content": "You are Captain Hook, a pirate."}, {"role": "user", "content": "hello"}]},
    ),
    "persona generate": ("/api/generate", {"prompt": "hello", "system": "You are a pirate."}),
    "persona anthropic": ("/v1/messages", chat("hello", max_tokens=64, system="You are a pirate.")),
    "instructions": ("/v1/responses", {"input": "hello", "instructions": "You are a pirate."}),
    "title of Open WebUI": ("/v1/chat/completions", chat("### Task:\nGenerate a concise title.\n\n<chat_history>\nUSER: hello\n</chat_history>")),
}


@pytest.mark.parametrize("name", list(GUARDED))
def test_guarded_asks_are_never_answered_here(scripted, mark, name):
    path, body = GUARDED[name]
    raw = json.dumps({"model": scripted.model, **body})
    reply = scripted.ask(path, content=raw, headers={"x-e2e": mark})
    assert_forwarded(reply.headers)
    # A load has no words, a harness prompt none of its user's: nothing of them was ever a greeting.
    if reply.headers["x-brainstem-category"] == "fast":
        assert reply.headers.get("x-brainstem-guard"), dict(reply.headers)
    else:
        assert name.startswith(("load", "unload", "title")), dict(reply.headers)
    seen = scripted.seen(mark)
    assert seen["length"] == len(raw) and reply.status_code == 200


def test_a_reminder_of_the_harness_is_no_part_of_the_message(scripted):
    text = "<system-reminder>\nThe user opened main.rs and wants a refactor of the parser.\n</system-reminder>\nhello"
    plain = ask(scripted, "/v1/messages", "hello").headers
    wrapped = ask(scripted, "/v1/messages", text).headers
    assert wrapped["x-brainstem-category"] == plain["x-brainstem-category"]


def test_a_model_that_is_not_there_keeps_its_404(front):
    for path in ("/api/chat", "/api/generate", "/v1/chat/completions"):
        body = json.dumps({"model": "no-such-model", **ASKS[path]("hello")})
        through, direct = front.ask(path, content=body), front.direct(path, content=body)
        assert_forwarded(through.headers)
        assert (through.status_code, through.content) == (404, direct.content)


def test_the_tag_latest_may_be_left_out_or_written(front):
    bare = front.model.removesuffix(":latest")
    for name in (bare, f"{bare}:latest"):
        reply = front.ask("/api/chat", json={"model": name, "stream": False, **chat("hello")})
        assert_local(reply.headers)
        assert reply.json()["model"] == name


def test_a_hint_is_taken_as_it_is(scripted):
    by_header = ask(scripted, "/api/chat", "hello", headers={"x-brainstem-category": "coding"})
    by_field = ask(scripted, "/api/chat", "hello", category="reasoning")
    unknown = ask(scripted, "/api/chat", "hello", headers={"x-brainstem-category": "no-such-category"})
    for reply, category in ((by_header, "coding"), (by_field, "reasoning")):
        assert_forwarded(reply.headers)
        assert reply.headers["x-brainstem-category"] == category
        assert reply.headers["x-brainstem-decided-by"] == "hint"
    assert_local(unknown.headers)


def test_bypass(scripted, mark):
    reply = ask(scripted, "/api/chat", "hello", headers={"x-brainstem-bypass": "1", "x-e2e": mark}, stream=False)
    assert "x-brainstem-answer" not in reply.headers
    assert reply.json()["message"]["content"] == "Scripted words from upstream."
    assert scripted.seen(mark)["outcome"] == "answered"


def test_a_request_id_is_kept_or_made(front):
    assert ask(front, "/api/chat", "hello", headers={"x-request-id": "abc-123"}).headers["x-request-id"] == "abc-123"
    made = {ask(front, "/api/chat", "hello").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


def test_without_an_upstream_greetings_are_answered_and_the_rest_is_502(orphan):
    for path in ASKS:
        assert_local(ask(orphan, path, "Привет!").headers)
        reply = ask(orphan, path, HEAVY[0])
        assert reply.status_code == 502, reply.text
        error = reply.json()["error"]
        if path == "/v1/messages":
            assert reply.json()["type"] == "error" and error["type"] and error["message"]
        elif path.startswith("/v1/"):
            assert error["message"] and error["type"] == "api_error"
        else:
            assert isinstance(error, str) and error
    assert orphan.ask("/api/tags", method="GET").status_code == 502
