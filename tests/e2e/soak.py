#!/usr/bin/env python3
"""`make soak MINUTES=…`: mixed traffic through a release build, in front of the scripted upstream.

Greetings and heavy questions in every dialect and size, streams, clients that leave, dawdle, send ahead or send
nonsense, an upstream that is busy, gone, or dies in the middle of a stream, and a rule file rewritten all the while
(now and then broken); with --apart also a classifier whose process is killed every few seconds. Fails on a lost request
or a wrong answer, on a panic, on memory that grows by more than 5 % after the warm-up, on descriptors that are not given
back, and on requests that are still counted as under way when all clients have gone. Standard library only.
"""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
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


# No request, or one that could be read in two ways: 400 and a close.
NONSENSE = [
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n folded\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00" * 30,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Bomb: a\r\n" * 2000 + b"\r\n",
]


class Traffic(threading.Thread):
    """One client: one kind of request after the other, over a connection that is kept where the kind allows it."""

    def __init__(self, port, until, seed):
        super().__init__(daemon=True)
        self.port, self.until, self.random = port, until, random.Random(seed)
        self.done, self.wrong = collections.Counter(), []
        self.connection = None

    def run(self):
        kinds = [self.greeting] * 6 + [self.heavy] * 4 + [self.undecided] * 2
        kinds += [self.large, self.broken, self.tags, self.leaver, self.dawdler, self.ahead, self.nonsense, self.blob]
        kinds += [self.cut, self.unfinished, self.busy, self.gone]
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
        self.ask(HEAVY + "ё" * int(2 ** self.random.uniform(8, 20)), "upstream")

    def broken(self):
        response = self.send("POST", "/api/chat", b'{"model": ')
        response.read()
        assert response.status == 400, response.status

    def tags(self):
        response = self.send("GET", "/api/tags")
        assert any(model["name"].startswith("scripted") for model in json.loads(response.read())["models"])

    def faulty(self, model, stream):
        """What comes of an ask of a model that fails, and whether the reply ended as it should."""
        path = self.random.choice(list(ASKS))
        body = json.dumps({"model": model, "stream": stream, **ASKS[path](HEAVY)})
        response = self.send("POST", path, body)
        try:
            return response.status, response.read(), True
        except http.client.IncompleteRead as cut:
            self.connection = None
            return response.status, cut.partial, False

    def cut(self):
        status, content, whole = self.faulty("scripted-cut", True)
        assert (status, whole) == (200, False), f"{status}, whole: {whole}"
        assert b'"error"' in content.splitlines()[-2 if content.endswith(b"\n\n") else -1], content[-200:]

    def unfinished(self):
        status, content, whole = self.faulty("scripted-broken", True)
        assert (status, whole) == (200, True) and b'"error"' in content, content[-200:]

    def busy(self):
        status, content, _ = self.faulty("scripted-busy", False)
        assert status == 503 and b"server busy" in content, f"{status} {content[:200]!r}"

    def gone(self):
        status, content, _ = self.faulty("scripted-gone", False)
        self.connection = None  # closed after an error of the proxy's own
        assert status == 502 and b"broke off" in content, f"{status} {content[:200]!r}"

    def blob(self):
        response = self.send("POST", "/api/blobs/sha256:0", os.urandom(1 << self.random.randrange(10, 23)))
        response.read()
        assert response.status == 201, response.status

    def raw(self, data):
        """Everything that is said to these bytes before the close."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            try:
                connection.sendall(data)
            except OSError:
                pass  # it had heard enough
            heard = b""
            try:
                while piece := connection.recv(65536):
                    heard += piece
            except ConnectionResetError:
                pass
            return heard

    def nonsense(self):
        heard = self.raw(self.random.choice(NONSENSE))
        assert heard[:12] in (b"HTTP/1.1 400", b""), heard[:100]

    def ahead(self):
        """Three requests in one go, the last one with a close: three answers."""
        asks = [json.dumps({"model": "scripted", "stream": False, **chat(text)}) for text in ("hello", HEAVY, "hello")]
        heads = ["", "", "Connection: close\r\n"]
        pairs = [
            f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(ask)}\r\n\r\n{ask}"
            for head, ask in zip(heads, asks)
        ]
        heard = self.raw("".join(pairs).encode())
        assert heard.count(b"HTTP/1.1 200 ") == 3, heard[:300]

    def dawdler(self):
        """Begins a request, byte by byte, and leaves."""
        request = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            for byte in request[: self.random.randrange(1, len(request) + 1)]:
                connection.sendall(bytes([byte]))

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


def kill(parent, until, killed):
    """Kills the classifier's process every few seconds."""
    while time.time() < until:
        time.sleep(5)
        found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout.split()
        for pid in found:
            os.kill(int(pid), signal.SIGKILL)
            killed.append(pid)


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
    parser.add_argument("--apart", action="store_true", help="the classifier in a process of its own, killed again and again")
    options = parser.parse_args()
    os.environ.setdefault("BRAINSTEM_BIN", str(stage.ROOT / "target" / "release" / "brainstem"))
    upstream_port = stage.free_port()
    upstream_url = f"http://127.0.0.1:{upstream_port}"
    with tempfile.TemporaryDirectory() as scratch:
        rules = pathlib.Path(scratch) / "rules"
        shutil.copytree(stage.ROOT / "rules", rules)
        script = [sys.executable, str(pathlib.Path(__file__).with_name("scripted_upstream.py")), str(upstream_port)]
        with stage.Process("soak-upstream", script, upstream_url):
            env = {"BRAINSTEM_CLASSIFIER_ISOLATION": "process"} if options.apart else {}
            with stage.Brainstem("soak", upstream_url, "--rules", str(rules), env=env) as brainstem:
                return soak(brainstem, rules, options)


def soak(brainstem, rules, options):
    pid, started = brainstem.process.pid, time.time()
    until = started + options.minutes * 60
    clients = [Traffic(brainstem.port, until, seed) for seed in range(options.clients)]
    time.sleep(1)
    at_rest, killed = descriptors(pid), []
    threading.Thread(target=edit, args=(rules, until), daemon=True).start()
    if options.apart:
        threading.Thread(target=kill, args=(pid, until, killed), daemon=True).start()
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
            parts = (samples[third : 2 * third], samples[-third:])
            early, late = (sorted(megabytes for megabytes, _ in part)[third // 2] for part in parts)
            print(f"memory: {early:.1f} MiB in the middle, {late:.1f} MiB at the end")
            if late > early * 1.05:
                wrong.append(f"grew from {early:.1f} to {late:.1f} MiB")
        # What the upstream's connections in the pool may still hold.
        left = descriptors(pid)
        print(f"descriptors: {at_rest} before, {left} after")
        if left > at_rest + 4 * options.clients:
            wrong.append(f"{left} descriptors are open, {at_rest} were before")
        if options.apart and not killed:
            wrong.append("no classifier process was found to kill")
    if "panicked" in brainstem.log.read_text(errors="replace"):
        wrong.append(f"something panicked; see {brainstem.log}")
    total = sum((client.done for client in clients), collections.Counter())
    print(", ".join(f"{count} {kind}" for kind, count in total.most_common()))
    print("\n".join(["", "Wrong:", *wrong[:20]]) if wrong else "Nothing went wrong.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
