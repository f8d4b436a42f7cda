"""What brainstem hands on arrives as it was sent, and comes back as it was answered."""

import hashlib
import json
import os
import re
import uuid

import httpx
import ollama
import pytest
from conftest import HEAVY

STEADY = {"temperature": 0, "seed": 7, "num_predict": 12}
# What differs between two runs of the same request: clocks and made-up numbers.
CHANGING = re.compile(rb'"(created_at|created|id|total_duration|load_duration|prompt_eval_duration|eval_duration|expires_at)":("[^"]*"|\d+)')
OUR_HEADERS = ("date", "server", "via", "connection", "keep-alive", "x-request-id", "content-length")


def steady(content):
    return CHANGING.sub(rb'"\1":0', content)


def in_any_order(content):
    """/api/show lists a model's parameters as a Go map gives them."""
    shown = json.loads(content)
    return {key: sorted(value.split("\n")) if key in ("parameters", "modelfile") else value for key, value in shown.items()}


def headers(response):
    """The upstream's headers, without the clock and without ours."""
    return sorted((k, v) for k, v in response.headers.multi_items() if k not in OUR_HEADERS and not k.startswith("x-brainstem"))


def same(front, path, normalise=bytes, **request):
    direct = front.direct(path, **request)
    through = front.ask(path, **request)
    assert through.status_code == direct.status_code
    assert normalise(through.content) == normalise(direct.content)
    assert headers(through) == headers(direct)
    return through


ASKS = {
    "/api/generate": {"prompt": HEAVY[0], "options": STEADY},
    "/api/chat": {"messages": [{"role": "user", "content": HEAVY[0]}], "options": STEADY},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": HEAVY[0]}], "temperature": 0, "seed": 7, "max_tokens": 12},
    "/v1/completions": {"prompt": HEAVY[0], "temperature": 0, "seed": 7, "max_tokens": 12},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", list(ASKS))
def test_a_forwarded_answer_is_the_upstreams_byte_for_byte(front, path, stream):
    body = json.dumps({"model": front.model, "stream": stream, **ASKS[path]})
    front.direct(path, content=body)  # so that both find the prompt in the server's cache
    reply = same(front, path, steady, content=body)
    assert reply.headers["x-brainstem-route"] == "upstream"


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/api/version"),
        ("HEAD", "/api/version"),
        ("GET", "/api/ps"),
        ("GET", "/no/such/path"),
        ("GET", "/api/chat"),
        ("GET", "/v1/models/no-such-model"),
        ("HEAD", "/api/blobs/sha256:" + "0" * 64),
        ("POST", "/v1/messages/count_tokens"),
    ],
)
def test_other_paths_pass(front, method, path):
    same(front, path, steady, method=method)


def test_the_lists_hold_the_upstreams_models_and_auto(front):
    for path, key, name in (("/api/tags", "models", "name"), ("/v1/models", "data", "id")):
        direct = front.direct(path, method="GET").json()[key]
        through = front.ask(path, method="GET").json()[key]
        # Ollama itself gives models of the same second in any order.
        assert all(entry in through for entry in direct) and len(through) == len(direct) + 1
        assert any(entry[name].split(":")[0] == "auto" for entry in through)


BAD = {
    "broken JSON": ("/api/chat", b'{"model": '),
    "broken JSON on /v1": ("/v1/chat/completions", b'{"model": '),
    "no JSON": ("/api/generate", b"hello"),
    "an array": ("/api/chat", b"[1, 2]"),
    "nothing": ("/api/chat", b""),
    "nothing on /v1": ("/v1/chat/completions", b""),
    "no model": ("/api/generate", b'{"prompt": "hello"}'),
    "messages of another kind": ("/api/chat", b'{"model": "smol", "messages": "hello"}'),
    "role of another kind": ("/api/chat", b'{"model": "smol", "messages": [{"role": 1, "content": "hello"}]}'),
    "bytes": ("/api/chat", bytes(range(256))),
    "model missing": ("/api/generate", b'{"model": "no-such-model", "prompt": "hello"}'),
    "model missing on /v1": ("/v1/chat/completions", b'{"model": "no-such-model", "messages": [{"role": "user", "content": "hello"}]}'),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_asks_get_the_upstreams_own_error(front, name):
    path, body = BAD[name]
    assert same(front, path, steady, content=body).status_code >= 400


def test_show_embed_and_pull_errors_pass(real):
    same(real, "/api/show", in_any_order, json={"model": real.model})
    same(real, "/api/show", json={"model": "no-such-model"})
    same(real, "/api/embed", steady, json={"model": real.model, "input": ["hello", "world"]})
    same(real, "/api/embeddings", steady, json={"model": real.model, "prompt": "hello"})
    same(real, "/v1/embeddings", steady, json={"model": real.model, "input": "hello"})
    same(real, "/api/pull", json={"model": ""})
    same(real, "/api/copy", json={"source": "no-such-model", "destination": "other"})
    same(real, "/api/delete", method="DELETE", json={"model": "no-such-model"})


def test_load_and_unload_pass(real):
    assert real.ask("/api/generate", json={"model": real.model}).json()["done_reason"] == "load"
    assert real.ask("/api/chat", json={"model": real.model, "messages": []}).json()["done_reason"] == "load"
    assert any(model["name"].startswith(real.model) for model in real.ask("/api/ps", method="GET").json()["models"])
    assert real.ask("/api/generate", json={"model": real.model, "keep_alive": 0}).json()["done_reason"] == "unload"


def test_models_are_made_copied_shown_and_deleted(real):
    client = ollama.Client(real.proxy)
    made, copied = f"brainstem-e2e-{uuid.uuid4().hex[:8]}", f"brainstem-e2e-{uuid.uuid4().hex[:8]}"
    names = lambda: {model.model.removesuffix(":latest") for model in client.list().models}
    try:
        progress = [part.status for part in client.create(made, from_=real.model, system="Be brief.", stream=True)]
        assert progress[-1] == "success" and len(progress) > 1
        assert client.copy(made, copied).status == "success"
        assert {made, copied} <= names()
        assert "Be brief." in client.show(copied).modelfile
        # A model that has just been made is one that is known: its greeting is answered here.
        assert client.chat(copied, messages=[{"role": "user", "content": "Why is the sky blue, in physics?"}], options={"num_predict": 2})
    finally:
        for name in (made, copied):
            try:
                client.delete(name)
            except ollama.ResponseError:
                pass
    assert not {made, copied} & names()


def test_a_pull_that_fails_says_why(real):
    """No registry can be reached from here, or it does not have the model: an error either way."""
    with pytest.raises((ollama.ResponseError, httpx.HTTPError)):
        for _ in ollama.Client(real.proxy, timeout=60).pull("localhost:9/brainstem/no-such-model", insecure=True, stream=True):
            pass


def test_a_blob_passes(real):
    if not real.owned:
        pytest.skip("blobs cannot be deleted, and this Ollama is not the suite's own")
    blob = os.urandom(1 << 20) * 12
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    assert real.ask(f"/api/blobs/{digest}", method="HEAD").status_code == 404
    assert real.ask(f"/api/blobs/{digest}", content=blob).status_code == 201
    assert real.ask(f"/api/blobs/{digest}", method="HEAD").status_code == 200
    assert real.ask("/api/blobs/sha256:" + "1" * 64, content=b"other").status_code == 400


PREFLIGHT = {
    "origin": "http://localhost:3000",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}


def cors(response):
    return sorted((k, v) for k, v in response.headers.multi_items() if k.startswith("access-control") or k == "vary")


def listed(response, name):
    return {value.strip().lower() for value in response.headers.get(f"access-control-allow-{name}", "").split(",")}


def test_a_preflight_is_answered_here_and_allows_what_the_upstream_does(real):
    asked = {"path": "/api/chat", "method": "OPTIONS", "headers": PREFLIGHT}
    through, direct = real.ask(**asked), real.direct(**asked)
    assert through.status_code == direct.status_code
    assert listed(through, "origin") == listed(direct, "origin")
    for name in ("methods", "headers"):
        assert listed(through, name) >= listed(direct, name), name


def test_a_preflight_of_an_origin_that_ollama_does_not_know_is_the_upstreams(real):
    same(real, "/api/chat", method="OPTIONS", headers=PREFLIGHT | {"origin": "https://evil.example"})


def test_a_local_answer_carries_the_cors_headers_of_the_upstream(real):
    greeting = {"model": real.model, "stream": False, "messages": [{"role": "user", "content": "hello"}], "options": {"num_predict": 40}}
    origin = {"origin": "http://localhost:3000"}
    through, direct = real.ask("/api/chat", json=greeting, headers=origin), real.direct("/api/chat", json=greeting, headers=origin)
    assert through.headers["x-brainstem-route"] == "local"
    allowed = "access-control-allow-origin"
    assert through.headers.get(allowed) == direct.headers.get(allowed)
    evil = real.ask("/api/chat", json=greeting, headers={"origin": "https://evil.example"})
    assert evil.headers.get(allowed) is None


def test_the_upstream_sees_its_own_address_as_host(scripted, mark):
    scripted.ask("/api/show", json={"model": "x"}, headers={"x-e2e": mark, "host": "my-box.local:11440"})
    assert scripted.seen(mark)["headers"]["host"] == scripted.upstream.removeprefix("http://")


def test_a_foreign_host_is_refused_as_ollama_refuses_it(real):
    same(real, "/api/version", method="GET", headers={"host": "brainstem.example"})


def test_headers_of_the_client_arrive(scripted, mark):
    sent = {"x-e2e": mark, "authorization": "Bearer secret", "user-agent": "tester/1", "x-custom": "ä".encode()}
    body = {"model": scripted.model, "messages": [{"role": "user", "content": HEAVY[0]}]}
    scripted.ask("/api/chat", json=body, headers=sent)
    seen = scripted.seen(mark)["headers"]
    assert seen["authorization"] == "Bearer secret" and seen["user-agent"] == "tester/1" and "x-custom" in seen


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [200, 65536, 65537, 1 << 20, 20 << 20])
def test_bodies_of_every_size_arrive_whole(scripted, mark, size, framing):
    frame = json.dumps({"model": scripted.model, "stream": False, "messages": [{"role": "user", "content": HEAVY[0] + "@"}]})
    body = frame.replace("@", "ё" * ((size - len(frame)) // 2)).encode()
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    reply = scripted.ask("/api/chat", content=body if framing == "length" else pieces, headers={"x-e2e": mark})
    assert reply.status_code == 200, reply.text
    assert reply.json()["message"]["content"] == "Scripted words from upstream."
    seen = scripted.seen(mark)
    assert (seen["length"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_blob_is_streamed_not_gathered(scripted, mark):
    block = os.urandom(1 << 20)
    whole = hashlib.sha256()

    def pieces():
        for _ in range(96):  # more than limits.max_body would hold
            whole.update(block)
            yield block

    assert scripted.ask("/api/blobs/sha256:x", content=pieces(), headers={"x-e2e": mark}).status_code == 201
    assert scripted.seen(mark)["sha256"] == whole.hexdigest()


def test_delete_keeps_its_body(scripted, mark):
    scripted.ask("/api/delete", method="DELETE", content=b'{"model": "x"}', headers={"x-e2e": mark})
    seen = scripted.seen(mark)
    assert (seen["method"], seen["length"]) == ("DELETE", 14)
