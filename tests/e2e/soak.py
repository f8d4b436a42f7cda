#!/usr/bin/env python3
"""`make soak MINUTES=…`: mixed traffic through a release build, in front of the scripted upstream.

Greetings and heavy questions in every dialect, streams, clients that leave, bodies of a megabyte, broken JSON, and a
rule file rewritten all the while (now and then broken). Fails on a wrong answer, on memory or descriptors that keep
growing, and on requests that are still counted as under way when all clients have gone. Standard library only.
"""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import stage

HEAVY = "Explain step by step why the sky is blue at noon but red at sunset, and derive the law behind it."
UNDECIDED = "my grandmother always told me that autumn evenings are good for long stories"


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


ASKS = {
    "/api/generate": lambda text: {"prompt": text},
    "/api/chat": chat,
    "/v1/chat/completions": chat,
    "/v1/completions": lambda text: {"prompt": text},
    "/v1/messages": lambda text: chat(text, max_tokens=512),
    "/v1/responses": lambda text: {"input": text},
}


class Traffic(threading.Thread):
    """One client: one kind of request after the other, over a connection that is kept where the kind allows it."""

    def __init__(self, port, until, seed):
        super().__init__(daemon=True)
        self.port, self.until, self.random = port, until, random.Random(seed)
        self.done, self.wrong = collections.Counter(), []
        self.connection = None

    def run(self):
        kinds = [self.greeting] * 6 + [self.heavy] * 4 + [self.undecided, self.large, self.broken, self.tags, self.leaver]
        while time.time() < self.until and len(self.wrong) < 5:
            kind = self.random.choice(kinds)
            try:
                kind()
                self.done[kind.__name__] += 1
            except (OSError, http.client.HTTPException, AssertionError, ValueError) as reason:
                self.wrong.append(f"{kind.__name__}: {type(reason).__name__} {reason}")
                self.connection = None

    def send(self, method, path, body=None, headers=None):
        self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.connection.request(method, path, body, headers or {})
        return self.connection.getresponse()

    def ask(self, text, route, model="scripted"):
        path = self.random.choice(list(ASKS))
        body = {"model": model, "stream": self.random.random() < 0.5, **ASKS[path](text)}
        response = self.send("POST", path, json.dumps(body))
        content = response.read()
        assert response.status == 200, f"{response.status} {content[:200]!r}"
        assert response.headers["x-brainstem-route"] == route, f"{path} went {response.headers['x-brainstem-route']}"
        assert content, "no content"

    def greeting(self):
        self.ask(self.random.choice(["Привет!", "hello", "спасибо", "what can you do?", "который час?"]), "local")

    def heavy(self):
        self.ask(HEAVY, "upstream")

    def undecided(self):
        self.ask(UNDECIDED, "upstream")

    def large(self):
        self.ask(HEAVY + "ё" * 500_000, "upstream")

    def broken(self):
        response = self.send("POST", "/api/chat", b'{"model": ')
        response.read()
        assert response.status == 400, response.status

    def tags(self):
        response = self.send("GET", "/api/tags")
        assert any(model["name"].startswith("scripted") for model in json.loads(response.read())["models"])

    def leaver(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/api/chat", json.dumps({"model": "scripted-endless", **chat(HEAVY)}))
        connection.getresponse().readline()
        connection.close()


def edit(rules, until):
    """Rewrites a rule file every second; every fifth time it is broken."""
    number = 0
    while time.time() < until:
        number += 1
        text = f'[[rule]]\nname = "soak"\ncategory = "coding"\nany = ["zzsoak{number}"]\n'
        (rules / "99-soak.toml").write_text(text if number % 5 else text[:-4])
        time.sleep(1)


def memory(pid):
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0  # macOS


def metric(admin, name):
    lines = stage.get(f"{admin}/metrics").decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    os.environ.setdefault("BRAINSTEM_BIN", str(stage.ROOT / "target" / "release" / "brainstem"))
    upstream_port = stage.free_port()
    upstream_url = f"http://127.0.0.1:{upstream_port}"
    with tempfile.TemporaryDirectory() as scratch:
        rules = pathlib.Path(scratch) / "rules"
        shutil.copytree(stage.ROOT / "rules", rules)
        script = [sys.executable, str(pathlib.Path(__file__).with_name("scripted_upstream.py")), str(upstream_port)]
        with stage.Process("soak-upstream", script, upstream_url):
            with stage.Brainstem("soak", upstream_url, "--rules", str(rules)) as brainstem:
                return soak(brainstem, rules, options)


def soak(brainstem, rules, options):
    pid, started = brainstem.process.pid, time.time()
    until = started + options.minutes * 60
    clients = [Traffic(brainstem.port, until, seed) for seed in range(options.clients)]
    threading.Thread(target=edit, args=(rules, until), daemon=True).start()
    for client in clients:
        client.start()
    samples = []
    while any(client.is_alive() for client in clients) and brainstem.process.poll() is None:
        time.sleep(min(5, options.minutes * 3))
        samples.append((memory(pid), descriptors(pid)))
        asked = sum(sum(client.done.values()) for client in clients)
        print(f"{time.time() - started:6.0f} s  {asked:8d} asks  {samples[-1][0]:6.1f} MiB  {samples[-1][1]:4d} descriptors", flush=True)

    wrong = [reason for client in clients for reason in client.wrong]
    if brainstem.process.poll() is not None:
        wrong.append(f"brainstem ended with {brainstem.process.returncode}; see {brainstem.log}")
    else:
        time.sleep(3)
        if under_way := metric(brainstem.admin, "brainstem_inflight_requests"):
            wrong.append(f"{under_way:.0f} requests are still under way with no client left")
        if not metric(brainstem.admin, "brainstem_rules_reloads_total"):
            wrong.append("no rule file was reloaded")
        # Warmed up after the first third; from there on the median of the last third may not be much above it.
        third = len(samples) // 3
        if third >= 3:
            for what, column, slack in (("MiB", 0, 12), ("descriptors", 1, 40)):
                early, late = (sorted(sample[column] for sample in part)[third // 2] for part in (samples[third : 2 * third], samples[-third:]))
                if late > early * 1.15 + slack:
                    wrong.append(f"grew from {early:.0f} to {late:.0f} {what}")
    if "panicked" in brainstem.log.read_text(errors="replace"):
        wrong.append(f"something panicked; see {brainstem.log}")
    total = sum((client.done for client in clients), collections.Counter())
    print(", ".join(f"{count} {kind}" for kind, count in total.most_common()))
    print("\n".join(["", "Wrong:", *wrong[:20]]) if wrong else "Nothing went wrong.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
