"""What stands between people and the official clients: LiteLLM and `llm`, set up as docs/clients.md says."""

import os
import pathlib
import re
import subprocess
import sys
import time

import httpx
import litellm
import pytest
from conftest import GREETINGS, HEAVY, assert_forwarded, assert_local

greeting = pytest.mark.parametrize("text", GREETINGS, ids=["ru", "en"])
SHORT = {"max_tokens": 8, "temperature": 0}


def user(text):
    return [{"role": "user", "content": text}]


# === LiteLLM, the library


@pytest.fixture
def went(front, heard, monkeypatch):
    """The headers of what LiteLLM was answered; it keeps clients of its own, so its ears are ours."""
    client = heard.client()
    handler = litellm.llms.custom_httpx.http_handler.HTTPHandler(client=client)
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    return heard, handler


@greeting
def test_litellm_greeting(front, went, text):
    heard, client = went
    reply = litellm.completion(model=f"ollama_chat/{front.model}", api_base=front.proxy, messages=user(text), client=client)
    heard.local()
    assert reply.choices[0].message.content and reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens >= 1


@greeting
def test_litellm_greeting_streamed(front, went, text):
    heard, client = went
    parts = litellm.completion(
        model=f"ollama_chat/{front.model}", api_base=front.proxy, messages=user(text), stream=True, client=client
    )
    assert "".join(part.choices[0].delta.content or "" for part in parts)
    heard.local()


def test_litellm_heavy(front, went):
    heard, client = went
    asked = {"model": f"ollama_chat/{front.model}", "api_base": front.proxy, "messages": user(HEAVY[0]), "client": client, **SHORT}
    assert "".join(part.choices[0].delta.content or "" for part in litellm.completion(stream=True, **asked))
    heard.forwarded()


def test_litellm_by_openais_dialect(front):
    """As its users write `openai/…` with an address."""
    asked = {"model": f"openai/{front.model}", "api_base": f"{front.proxy}/v1", "api_key": "any"}
    reply = litellm.completion(messages=user("hello"), **asked)
    assert_local(header(reply))
    assert reply.choices[0].message.content
    reply = litellm.completion(messages=user(HEAVY[0]), **asked, **SHORT)
    assert_forwarded(header(reply))
    assert reply.choices[0].message.content


def header(reply):
    """LiteLLM hands on what the server's reply had, each name with a prefix of its own."""
    told = reply._hidden_params["additional_headers"]
    return {name.removeprefix("llm_provider-"): value for name, value in told.items()}


# === llm, the command


@pytest.fixture
def llm(front, tmp_path):
    """Runs `llm`, with a home of its own; its plugin reads the server's list first."""

    def run(*arguments):
        env = {**os.environ, "OLLAMA_HOST": front.proxy, "LLM_USER_PATH": str(tmp_path)}
        command = [pathlib.Path(sys.executable).with_name("llm"), *arguments]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.strip()

    return run


def counted(front):
    """Decided asks by route, as the metrics tell; a request is counted a moment after its last byte."""
    text = httpx.get(f"{front.admin}/metrics", timeout=10).text
    asks = re.findall(r'^brainstem_requests_total{[^}]*category="(?!none")[^}]*route="(\w+)"[^}]*} (\S+)$', text, re.M)
    return {route: sum(float(value) for name, value in asks if name == route) for route in ("local", "upstream")}


def grown(front, before, route):
    until = time.time() + 10
    other = "local" if route == "upstream" else "upstream"
    while (after := counted(front))[route] != before[route] + 1:
        assert time.time() < until, (before, after)
        time.sleep(0.05)
    assert after[other] == before[other], (before, after)


def test_llm_greeting_streamed_as_it_does_by_itself(front, llm):
    before = counted(front)
    assert llm("-m", f"ollama/{front.model}", "Привет!")
    grown(front, before, "local")


def test_llm_greeting_whole(front, llm):
    before = counted(front)
    assert llm("-m", f"ollama/{front.model}", "--no-stream", "hello")
    grown(front, before, "local")


def test_llm_heavy(front, llm):
    before = counted(front)
    assert llm("-m", f"ollama/{front.model}", "-o", "num_predict", "8", HEAVY[0])
    grown(front, before, "upstream")


def test_llm_auto(front, llm):
    before = counted(front)
    assert llm("-m", "ollama/auto", "-o", "num_predict", "8", HEAVY[0])
    grown(front, before, "upstream")


# === Ollama's own command


OLLAMA = pathlib.Path(__file__).parents[3] / ".cache/ollama/ollama"


@pytest.mark.parametrize(("text", "route"), [("hello", "local"), (HEAVY[0], "upstream")])
def test_ollama_run_auto(front, text, route):
    if not OLLAMA.exists():
        pytest.skip("the command is not here: OLLAMA_URL names another's server")
    before = counted(front)
    env = {**os.environ, "OLLAMA_HOST": front.proxy}
    command = [OLLAMA, "run", "auto", text]
    ran = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and ran.stdout.strip(), ran.stdout + ran.stderr
    assert counted(front)[route] >= before[route] + 1
