#!/usr/bin/env python3
"""Starts what the end-to-end suites need, runs one of them, and stops everything again.

    stage.py -- COMMAND …

The stage: brainstem in front of a real Ollama (OLLAMA_URL, or the one that scripts/real-ollama.sh made), brainstem in
front of the scripted upstream, and brainstem in front of nothing. Where they listen is in BRAINSTEM_E2E, as JSON, for
the command to read; their logs are in .cache/e2e-logs. Standard library only.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import scripted_upstream

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 30 * 60  # seconds, for one suite
LOGS = ROOT / ".cache" / "e2e-logs"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read()


def binary():
    if given := os.environ.get("BRAINSTEM_BIN"):
        return pathlib.Path(given).resolve()
    built = [ROOT / "target" / profile / "brainstem" for profile in ("debug", "release")]
    built = [path for path in built if path.exists()]
    if not built:
        sys.exit("there is no brainstem binary: cargo build, or set BRAINSTEM_BIN")
    return max(built, key=lambda path: path.stat().st_mtime)


class Process:
    """A server of ours with its log, told to stop when the stage is left."""

    def __init__(self, name, command, ready, env=None, wait=60):
        LOGS.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, LOGS / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}
            )
        until = time.time() + wait
        while not self.answers(ready):
            if self.process.poll() is not None or time.time() > until:
                self.stop()
                sys.exit(f"{name} did not start; {self.log} says:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    @staticmethod
    def answers(url):
        try:
            get(url, timeout=2)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Brainstem(Process):
    def __init__(self, name, upstream, *flags, env=None):
        self.port, admin = free_port(), free_port()
        self.url, self.admin, self.upstream = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{admin}", upstream
        command = [binary(), "serve", "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{admin}"]
        super().__init__(name, [*command, "--upstream", upstream, *flags], f"{self.admin}/healthz", env)
        # The admin port may be up first.
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            time.sleep(0.02)


def ollama(stack):
    """The address of a real Ollama and whether it is ours to fill; (None, False) where there is none."""
    if url := os.environ.get("OLLAMA_URL"):
        get(f"{url}/api/version")
        return url.rstrip("/"), False
    serve = pathlib.Path(os.environ.get("OLLAMA_DIR", ROOT / ".cache" / "ollama")) / "serve"
    if not serve.exists():
        return None, False
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # One answer at a time: a generation that nobody stopped shows in the wait of the next.
    env = {"OLLAMA_NUM_PARALLEL": "1", "OLLAMA_KEEP_ALIVE": "10m"}
    stack.enter_context(Process("ollama", [serve, str(port)], f"{url}/api/version", env))
    return url, True


def model(url):
    names = [entry["name"] for entry in json.loads(get(f"{url}/api/tags"))["models"]]
    wanted = os.environ.get("OLLAMA_MODEL", "smol")
    if wanted in names or f"{wanted}:latest" in names:
        return wanted
    if not names:
        sys.exit(f"the Ollama at {url} has no model; `ollama pull` a small one, or name it in OLLAMA_MODEL")
    return min(json.loads(get(f"{url}/api/tags"))["models"], key=lambda entry: entry["size"])["name"]


def main():
    if sys.argv[1:2] != ["--"] or len(sys.argv) < 3:
        sys.exit(__doc__)
    command = sys.argv[2:]
    with contextlib.ExitStack() as stack:
        places = {"real": None, "promtool": os.environ.get("PROMTOOL") or shutil.which("promtool")}
        places["prometheus"] = os.environ.get("PROMETHEUS") or shutil.which("prometheus")

        def front(name, upstream, model_name, **more):
            proxy = stack.enter_context(Brainstem(f"brainstem-{name}", upstream))
            where = {"proxy": proxy.url, "admin": proxy.admin, "upstream": upstream, "model": model_name}
            return where | {"log": str(proxy.log)} | more

        url, owned = ollama(stack)
        if url:
            places["real"] = front("real", url, model(url), owned=owned)
        scripted = scripted_upstream.Server().start()
        places["scripted"] = front("scripted", scripted.url, "scripted")
        places["orphan"] = front("orphan", f"http://127.0.0.1:{free_port()}", "llama3.2")
        try:
            return subprocess.call(command, cwd=ROOT, env={**os.environ, "BRAINSTEM_E2E": json.dumps(places)}, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"stopped: not done after {PATIENCE // 60} minutes", file=sys.stderr)
            return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
