"""Where everything listens, what is asked, and how an answer's way is read off its headers."""

import json
import os
import pathlib
import sys
from dataclasses import dataclass, field

import httpx
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # stage, scripted_upstream

GREETINGS = ["Привет!", "hello"]
HEAVY = [
    "Explain step by step why the sky is blue at noon but red at sunset, and derive the law behind it.",
    "Напиши функцию на Python, которая сортирует список слиянием, и докажи её сложность.",
]
PLACES = json.loads(os.environ["BRAINSTEM_E2E"])


@dataclass
class Front:
    """One brainstem and what stands behind it."""

    proxy: str
    admin: str
    upstream: str
    model: str
    log: str
    owned: bool = False
    real: bool = False

    def ask(self, path, **more):
        """A request to the proxy, with the raw client."""
        return httpx.request(more.pop("method", "POST"), self.proxy + path, timeout=120, **more)

    def direct(self, path, **more):
        """The same request without the proxy."""
        return httpx.request(more.pop("method", "POST"), self.upstream + path, timeout=120, **more)

    def seen(self, mark):
        """What the scripted upstream received under `x-e2e: mark`."""
        return httpx.get(f"{self.upstream}/scripted/{mark}").json()


@dataclass
class Heard:
    """The response headers that went past a client, newest last."""

    headers: list = field(default_factory=list)

    @property
    def hooks(self):
        return {"response": [lambda response: self.headers.append(response.headers)]}

    def client(self, library=httpx):
        return library.Client(event_hooks=self.hooks, timeout=120)

    def local(self):
        assert self.headers, "no response went past"
        assert_local(self.headers[-1])

    def forwarded(self):
        assert self.headers, "no response went past"
        assert_forwarded(self.headers[-1])


def told(headers):
    return {name: value for name, value in headers.items() if name.startswith("x-brainstem")}


def assert_local(headers):
    assert headers.get("x-brainstem-route") == "local", told(headers)
    assert headers.get("x-brainstem-category") == "fast", told(headers)
    assert headers.get("x-brainstem-answer"), told(headers)
    assert headers.get("x-request-id"), dict(headers)


def assert_forwarded(headers):
    assert headers.get("x-brainstem-route") == "upstream", told(headers)
    assert headers.get("x-brainstem-category"), told(headers)
    assert not headers.get("x-brainstem-answer"), told(headers)


def place(name):
    return Front(**PLACES[name], real=name == "real")


@pytest.fixture(scope="session")
def real():
    """In front of a real Ollama with a real model."""
    if not PLACES["real"]:
        pytest.skip("no real Ollama on this machine; set OLLAMA_URL")
    return place("real")


@pytest.fixture(scope="session")
def scripted():
    """In front of the scripted upstream, which knows the newest server's dialects."""
    return place("scripted")


@pytest.fixture(scope="session")
def front():
    """In front of the real Ollama where there is one, else of the scripted upstream."""
    return place("real" if PLACES["real"] else "scripted")


@pytest.fixture(scope="session")
def orphan():
    """In front of nothing."""
    return place("orphan")


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def mark(request):
    return request.node.name.replace("[", "-").replace("]", "").replace("/", "_").replace(" ", "_")
