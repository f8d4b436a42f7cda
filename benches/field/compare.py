#!/usr/bin/env python3
"""brainstem in front of an upstream beside nginx, HAProxy, Envoy, bare Pingora and the LLM gateways, in the same minutes.

Every target forwards the same OpenAI chat completions to the same stub (`streams upstream`), which reads each request to its
end. Every round visits every target, starting one further along. CPU is a target's own accounting over the answers that its
client saw; added latency is a target's less that of the stub asked directly, in the same round. Where there is more than one
CPU the targets have the last one to themselves, client and stub the others. benches/field/run.sh starts it.
"""
import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import results
import targets
from account import Meter, memory, settle
from targets import Target

from overhead import HEAVY, LUA, SYSTEM, TURNS, Server, ask, free_port, prose, request

CHUNKS, GAP = 100, 10

# Row: size, connections.
FORWARDED = {"2k-1": ("2k", 1), "2k-16": ("2k", 16), "2k-256": ("2k", 256), "1m-4": ("1m", 4)}
STREAMED = {"streams-50": 50, "streams-500": 500}
# Slow ones get four times as long for these (streams have their own limit), and are asked in two rounds only.
LENGTHY = ("2k-256", "1m-4", *STREAMED)
# Streams at once, each with a chunk every 100 ms.
GROWING = (1, 10, 100, 1000, 2000)

BODIES = {
    "2k": lambda target: ask(SYSTEM, ("user", HEAVY + "\n" + prose(1880)), **target.members),
    "1m": lambda target: ask(SYSTEM, *TURNS, ("user", HEAVY), **target.members),
}


def streaming(target, chunks, gap, hold=0):
    wish = f"[[n={chunks} gap={gap} hold={hold}]]"
    return ask(SYSTEM, ("user", f"{HEAVY}\n{prose(1850)}\n{wish}"), stream=True, **target.members)


class Field:
    def __init__(self, flags):
        self.flags, self.servers, self.targets = flags, [], []
        self.work = tempfile.mkdtemp(prefix="brainstem-field-")
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        cpus = os.sched_getaffinity(0)
        self.proxies_on = {max(cpus)} if len(cpus) > 1 else None
        if self.proxies_on:
            os.sched_setaffinity(0, cpus - self.proxies_on)

    # ---- set-up ----

    def set_up(self):
        self.upstream = free_port()
        command = [self.flags.streams, "upstream", "--listen", f"127.0.0.1:{self.upstream}"]
        self.servers.append(Server("upstream", command, self.upstream, os.path.join(self.work, "upstream.log")).wait())
        started = [targets.bare(self.flags.bare, self.upstream, self.proxies_on, self.work),
                   targets.brainstem(self.flags.brainstem, self.upstream, self.proxies_on, self.work, "on"),
                   targets.brainstem(self.flags.brainstem, self.upstream, self.proxies_on, self.work, "off")]
        self.servers += [server for server, _ in started]
        self.direct = Target("direct", "no proxy", self.upstream)
        ours = [target for _, target in started]
        found = [self.direct, *targets.peers(self.upstream, self.proxies_on), *ours]
        self.targets = [target for target in found if self.check(target)]
        # The second brainstem is there to tell the model's memory from ours.
        ours[-1].skipped |= dict.fromkeys([*FORWARDED, *STREAMED], "")

    def check(self, target):
        """Asked once, whole and as a stream; what does not answer rightly is said and left out."""
        for body, right in ((BODIES["2k"](target), b"Four."), (streaming(target, 3, 1), b"[DONE]")):
            try:
                status, headers, said = request(target.port, "POST", target.path, body, target.headers)
            except OSError as reason:
                status, headers, said = 0, {}, repr(reason).encode()
            if status != 200 or right not in said:
                print(f"    {target.shown} is left out: {status} {said[:200]}", flush=True)
                return False
            if target.name == "brainstem" and headers.get("x-brainstem-decided-by") != "rule":
                sys.exit("brainstem: no rule decided; have the rules changed?")
        return True

    def stop(self):
        targets.stop_peers()
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    # ---- one measurement ----

    def written(self, target, name, content):
        path = os.path.join(self.work, f"{target.name}-{name}")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(content)
        return path

    def forward(self, target, row):
        size, connections = FORWARDED[row]
        lua = os.path.join(self.work, "post.lua")
        if not os.path.exists(lua):
            with open(lua, "w") as file:
                file.write(LUA)
        seconds = 4 * self.flags.seconds if target.slow and row in LENGTHY else self.flags.seconds
        command = [self.flags.wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", lua,
                   f"http://127.0.0.1:{target.port}{target.path}"]
        for key, value in target.headers.items():
            command += ["-H", f"{key}: {value}"]
        env = {**os.environ, "BENCH_BODY": self.written(target, size, BODIES[size](target))}
        with Meter(target) as meter:
            ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=90)
        found = re.search(r"^@@(.*)$", ran.stdout, re.M)
        if not found:
            sys.exit(f"{row}, {target.shown}: wrk: {(ran.stderr or ran.stdout)[-500:]}")
        seen = json.loads(found[1])
        answers = seen["requests"]
        came = {"cpu_us": meter.seconds / answers * 1e6, "p50_us": seen["p50"], "p99_us": seen["p99"]} if answers else {}
        return {"cpu_us": None, "p50_us": None, "p99_us": None, **came, "per_second": answers / seconds, "errors": seen["errors"]}

    def client(self, target, count, chunks, gap, *more, hold=0):
        body = streaming(target, chunks, gap, hold)
        path = self.written(target, f"stream-{chunks}-{gap}-{hold}", target.request(body))
        return [self.flags.streams, "client", "--to", f"127.0.0.1:{target.port}", "--request", path, "--count", str(count),
                "--chunks", str(chunks), *more]

    def stream(self, target, count, chunks=CHUNKS, gap=GAP):
        ramp = min(250, 2 * count) if gap == GAP else gap
        command = self.client(target, count, chunks, gap, "--ramp", str(ramp), "--limit", str(self.flags.patience))
        with Meter(target) as meter:
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
        seen = json.loads(ran.stdout)
        each = meter.seconds / seen["chunks"] * 1e6 if seen["chunks"] else None
        return {"cpu_us": each, "cpu_s": meter.seconds, **seen}

    def hold(self, target, count):
        """Memory before, while so many idle streams are open, and what came of opening them."""
        rest = memory(target.pids())
        command = self.client(target, count, 1, 1, "--hold", "--limit", str(2 * self.flags.patience), hold=3600)
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        opened = json.loads(client.stdout.readline())
        time.sleep(0.5)
        during = memory(target.pids())
        client.stdin.close()
        client.wait()
        return {"rest_mib": rest, "open_mib": during, **opened}

    # ---- the run ----

    def in_turn(self, row, turn):
        """Those of this row, starting one further along each time."""
        at = turn % len(self.targets)
        for target in self.targets[at:] + self.targets[:at]:
            if row not in target.skipped and not (target.slow and row in LENGTHY and turn > 1):
                yield target

    def run(self):
        kept = {row: {target.name: [] for target in self.targets} for row in [*FORWARDED, *STREAMED]}
        # First, for memory at rest means little once there was load.
        held = self.hold_all()
        for turn in range(self.flags.rounds):
            for row in kept:
                for target in self.in_turn(row, turn):
                    if turn == 0:
                        self.warm(target, row)
                    got = self.forward(target, row) if row in FORWARDED else self.stream(target, STREAMED[row])
                    kept[row][target.name].append({"round": turn, **got})
                    settle(target)
                seen = {name: runs[-1]["cpu_us"] for name, runs in kept[row].items() if runs and runs[-1]["round"] == turn}
                print(f"    round {turn + 1}, {row}: " + ", ".join(f"{name} {us:.0f}" for name, us in seen.items() if us) + " us", flush=True)
        return {"rows": kept, "memory": held, "growth": self.grow()}

    def warm(self, target, row):
        if row == "2k-1":
            for _ in range(20):
                request(target.port, "POST", target.path, BODIES["2k"](target), target.headers)

    def hold_all(self):
        held = {}
        for target in self.targets:
            if target.pid:
                held[target.name] = self.hold(target, self.flags.idle)
                print(f"    {self.flags.idle} idle streams, {target.name}: {held[target.name]}", flush=True)
        time.sleep(self.flags.rest)
        for target in self.targets:
            if target.pid:
                held[target.name]["after_mib"] = memory(target.pids())
        return held

    def grow(self):
        """CPU of more and more streams, each with a chunk every 100 ms for two seconds."""
        seen = {}
        for target in self.targets:
            if target.name in ("bare", "brainstem"):
                runs = [(count, self.stream(target, count, chunks=20, gap=100)) for count in GROWING]
                seen[target.name] = [(count, run["cpu_s"] * 1e6) for count, run in runs]
        return seen


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("wrk", "brainstem", "bare", "streams"):
        flags.add_argument(f"--{name}", required=True, metavar="PROGRAM")
    flags.add_argument("--rounds", type=int, default=4)
    flags.add_argument("--seconds", type=int, default=1, help="of each run of wrk")
    flags.add_argument("--idle", type=int, default=2000, help="how many idle streams are held")
    flags.add_argument("--rest", type=int, default=10, help="seconds from the end of the last idle streams to the look at memory")
    flags.add_argument("--patience", type=int, default=8, help="seconds after which what has not come of a stream is missing")
    flags = flags.parse_args()
    field = Field(flags)
    began = time.monotonic()
    try:
        field.set_up()
        seen = field.run()
        about = {target.name: {"shown": target.shown, "version": target.version, "note": target.note, "skipped": target.skipped}
                 for target in field.targets}
    finally:
        field.stop()
    settings = {"rounds": flags.rounds, "seconds": flags.seconds, "idle": flags.idle, "rest": flags.rest,
                "pinned": bool(field.proxies_on), "took_s": round(time.monotonic() - began)}
    results.keep("compare", {"settings": settings, "targets": about, **seen})


if __name__ == "__main__":
    main()
